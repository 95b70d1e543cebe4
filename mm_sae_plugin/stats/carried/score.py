"""The carried dominance of every latent of a store, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import cast

import numpy as np
import torch
from jaxtyping import Float

from mm_sae_plugin.engines import Engine
from mm_sae_plugin.features.feature_map import Decodable, FeatureMap
from mm_sae_plugin.stats.carried.association import association
from mm_sae_plugin.stats.carried.calibration import calibrate, correlation_with_bins
from mm_sae_plugin.stats.carried.concepts import concept_of
from mm_sae_plugin.stats.carried.first_pass import FirstPass, first_sums
from mm_sae_plugin.stats.carried.groups import N_FOLDS
from mm_sae_plugin.stats.carried.jackknife import ratio_interval
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from mm_sae_plugin.stats.carried.partners import (
    PartnerCounts,
    candidates,
    decoder_cosine,
    partners,
)
from mm_sae_plugin.stats.carried.probes import fit_probes
from mm_sae_plugin.stats.carried.rates import rate_ratio
from mm_sae_plugin.stats.carried.readings import ReadingCounts
from mm_sae_plugin.stats.carried.result import CarriedDominance
from mm_sae_plugin.stats.carried.unheard import least_unheard
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.passes import Reading, run_pass


@dataclass(frozen=True)
class CarriedConfig:
    """How carried dominance is computed."""

    confidence: float = 0.95
    """Of the intervals, between 0 and 1."""
    ridge: float = 1e-3
    """Penalty of the readers, as a share of the mean variance of the activations."""
    least_code: float = 0.1
    """Share of a latent's typical code that a firing exceeds; fainter codes are about nothing."""
    level: float = 0.05
    """Probability that chance alone makes the other side speak for any latent at all, and that it
    gives any latent a partner."""
    min_rate: float = 0.15
    """Smallest rate on the other side that must not be missed: a latent of which the other side
    says nothing belongs to its own side only if `min_joint` pairs would show that rate."""
    min_joint: int = 30
    """Pairs that are enough to be heard."""


def carried_dominance(
    feature_map: FeatureMap,
    store: PairedActivations,
    cfg: CarriedConfig | None = None,
    engine: Engine | None = None,
    progress: bool = False,
) -> CarriedDominance:
    """Ask, for every latent, whether the other side carries what makes it fire.

    The own side of a latent is the one with the larger mean code. Two linear readers of "fires on
    its own side" are fitted, one from the own side's activations and one from the other side's, on
    half of the images each, and read on the other half. `rates` tells what follows from the
    readings: the own side's dominance is 1 / (1 + x / o), with o and x the rates at which the own
    and the other side show the concept.

    Assumptions: whether a side shows the concept is independent of the other side's showing it,
    given that it is there; and both sides are read about equally well. What a linear reader misses
    on the other side counts as absent there, so carry is a lower bound. Where the other side speaks
    of another concept that goes with the latent (`association`), the own side has all, and the
    interval reaches to what the ratio would be at least if the other side did speak of the latent.

    Parameters
    ----------
    feature_map : FeatureMap
        Encodes both modalities.
    store : PairedActivations
        Raw activations; the two modalities may have different widths.
    cfg : CarriedConfig, optional
        Confidence and limits.
    engine : Engine, optional
        Where the two passes run; one thread by default.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If the store holds no pairs.
    """
    sums = first_sums(store, feature_map.n_features)
    (taken,) = run_pass(store, [Reading(feature_map, sums)], engine, progress=progress)
    (found,) = read_carried([FirstPass.of(feature_map, taken)], store, cfg, engine, progress)
    return found


def read_carried(
    first_passes: Sequence[FirstPass],
    store: PairedActivations,
    cfg: CarriedConfig | None = None,
    engine: Engine | None = None,
    progress: bool = False,
) -> list[CarriedDominance]:
    """Read any number of feature maps in one more pass over the store of their first passes.

    The other arguments are those of `carried_dominance`.
    """
    cfg = cfg or CarriedConfig()
    readings = []
    for first in first_passes:
        probes = fit_probes(first.moments, cfg.ridge, cfg.least_code)
        together = PartnerCounts(candidates(first.moments, probes), probes)
        sums = {"readings": ReadingCounts(probes), "partners": together}
        readings.append(Reading(first.feature_map, sums, known=first.known))
    results = run_pass(store, readings, engine, progress=progress)
    return [
        score_readings(
            first.moments,
            cast(ReadingCounts, taken["readings"]),
            cast(PartnerCounts, taken["partners"]),
            first.feature_map.directions if isinstance(first.feature_map, Decodable) else None,
            cfg,
        )
        for first, taken in zip(first_passes, results, strict=True)
    ]


def score_readings(
    moments: ProbeMoments,
    counts: ReadingCounts,
    together: PartnerCounts,
    directions: Float[torch.Tensor, "n_features d"] | None,
    cfg: CarriedConfig,
) -> CarriedDominance:
    """Compute scores, intervals and partners from what was summed over a whole store."""
    own, other = (counts.counts[side].numpy().astype(np.float64) for side in ("own", "other"))
    whole_own, whole_other = own.sum(0), other.sum(0)
    n_images = int(counts.n_images.sum())
    n_rows = whole_own.sum((0, 2)).clip(1)
    rate = whole_own[1].sum(-1) / n_rows
    own_read = calibrate(whole_own[1], whole_own[0])
    other_read = calibrate(whole_other[1], whole_other[0])
    carry = rate_ratio(rate, own_read, other_read).carry

    # Captions of one image are not independent, nor are the errors of halves that read each other:
    # there are as many facts as images of one half.
    n_facts = n_images / N_FOLDS
    signal = correlation_with_bins(whole_other[1], whole_other[0]) * n_facts**0.5
    own_signal = correlation_with_bins(whole_own[1], whole_own[0]) * n_facts**0.5
    limit = NormalDist().inv_cdf(1 - cfg.level / max(counts.n_features, 1))
    heard = (signal > limit) & (own_signal > limit)
    enough = rate * n_images * cfg.min_rate >= cfg.min_joint
    decidable = (own_signal > limit) & (heard | enough)
    goes_with = association(moments, counts.probes, cfg.ridge)
    associated = goes_with.associated.numpy() & heard

    low = least_unheard(signal, rate, own_read.variance, counts.probes, n_facts, cfg.confidence)
    dominance, high = np.ones_like(low), np.ones_like(low)
    found = ratio_interval(own[:, :, heard], other[:, :, heard], cfg.confidence)
    dominance[heard] = 1 / (1 + found.ratio)
    low[heard], high[heard] = 1 / (1 + found.most), 1 / (1 + found.least)
    dominance[associated], high[associated] = 1.0, 1.0
    low[associated] = 1 / (1 + carry[associated])
    dominance = np.where(decidable, dominance, np.nan)
    low, high = np.where(decidable, low, 0.0), np.where(decidable, high, 1.0)

    share_told = torch.from_numpy(other_read.variance / (rate * (1 - rate)).clip(1e-12))
    speaks = torch.from_numpy(heard & ~associated)
    halves = partners(together, n_images, share_told, speaks, cfg.level)
    image = counts.probes.on_image.cpu().numpy()
    ends = np.stack([np.where(image, low, 1 - high), np.where(image, high, 1 - low)], axis=1)
    return CarriedDominance(
        scores=torch.from_numpy(np.where(image, dominance, 1 - dominance)),
        intervals=torch.from_numpy(ends),
        on_image=counts.probes.on_image.cpu(),
        carry=torch.from_numpy(np.where(heard, carry, 0.0)),
        read_own=torch.from_numpy(own_read.variance / (rate * (1 - rate)).clip(1e-12)),
        heard=torch.from_numpy(heard),
        associated=torch.from_numpy(associated),
        associated_with=torch.where(torch.from_numpy(associated), goes_with.by, -1),
        direct=goes_with.direct,
        partner=halves.partner,
        partner_correlation=halves.correlation,
        partner_cosine=decoder_cosine(directions, halves.partner),
        concept=concept_of(halves.partner),
        decidable=torch.from_numpy(decidable),
        signal=torch.from_numpy(signal),
    )
