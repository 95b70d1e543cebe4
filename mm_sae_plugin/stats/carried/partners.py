"""Which latent of the other side fires for the same thing.

Where a concept is split by the modality gap, its half for images fires on the images whose captions
its other half fires on. Only a few candidates for each latent are looked at, those that the other
side's reading of the latent speaks of most, so that memory stays of the order of n_features.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.modality import MODALITIES, Modality, other_modality
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.carried.groups import N_FOLDS
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from mm_sae_plugin.stats.carried.probes import Probes
from mm_sae_plugin.stats.interfaces import ActivePairs, CodedPairs

N_CANDIDATES = 32
"""Latents of the other side that are looked at for each latent."""
LEAST_SHARE = 0.5
"""Share of what the other side can tell of a latent that its partner tells alone."""
# Latents that are compared with all others at a time.
_BLOCK = 512
# Pairs that are counted at a time, and firings that wait at most.
_ROWS = 4096
_MOST_FIRINGS = 2**22


def candidates(
    moments: ProbeMoments, probes: Probes
) -> Int[Tensor, "n_features n_candidates_and_one"]:
    """For every latent itself, then the latents whose codes on the other side go with the other
    side's reading of it, best first. Readings count on the half that they were not fitted on.
    """
    n_features = moments.n_features
    n = min(N_CANDIDATES, n_features - 1)
    chosen = torch.arange(n_features)[:, None].repeat(1, 1 + n)
    for own in MODALITIES:
        other = other_modality(own)
        mine = (probes.on_image == (own == "image")).nonzero()[:, 0]
        centred, spread = _code_moments(moments, other)
        for block in mine.split(_BLOCK):
            covaries = sum(
                centred[half].T @ probes.weights[other][half][:-1, block].double()
                for half in range(N_FOLDS)
            )
            assert isinstance(covaries, Tensor)
            strength = torch.where(spread[:, None] > 0, covaries / spread[:, None], -torch.inf)
            strength[block, torch.arange(len(block))] = -torch.inf
            chosen[block, 1:] = strength.topk(n, dim=0).indices.T
    return chosen


def _code_moments(
    moments: ProbeMoments, side: Modality
) -> tuple[Float[Tensor, "folds d n_features"], Float[Tensor, "n_features"]]:
    """Covariances of activations and codes of one side, and the codes' standard deviations."""
    cross, second = moments.cross[side, side], moments.second[side]
    n_rows = second[:, -1:, -1:].clamp_min(1)
    centred = cross[:, :-1] / n_rows - second[:, :-1, -1:] / n_rows * (cross[:, -1:] / n_rows)
    mean = moments.activity[side] / n_rows.sum()
    variance = moments.energy[side] / n_rows.sum() - mean**2
    return centred, variance.clamp_min(0).sqrt()


class PartnerCounts:
    """An accumulator of how often each latent fires together with its candidates.

    Parameters
    ----------
    candidates : int64, shape [n_features, n_candidates + 1]
        As :func:`candidates` gives them.
    probes : Probes
        Say which side is a latent's own, and from what code on it fires.
    """

    def __init__(
        self, candidates: Int[Tensor, "n_features n_candidates_and_one"], probes: Probes
    ) -> None:
        self.candidates, self.probes = candidates, probes
        self._together = torch.zeros_like(candidates)
        # All candidates are looked up each time, so batches wait.
        self._waiting: list[dict[Modality, ActiveCodes]] = []
        self.fires: dict[Modality, Int[Tensor, "n_features"]] = {
            m: torch.zeros(len(candidates), dtype=torch.int64) for m in MODALITIES
        }
        """Pairs on which each latent fires, by modality."""
        self.n_pairs = 0

    def empty(self) -> "PartnerCounts":
        """An accumulator of the same kind that has seen nothing."""
        return PartnerCounts(self.candidates, self.probes)

    @property
    def together(self) -> Int[Tensor, "n_features n_candidates_and_one"]:
        """Pairs on which a latent fires on its own side and the candidate on the other."""
        self._settle()
        return self._together

    def update_pairs(self, pairs: CodedPairs | ActivePairs) -> None:
        """Add a batch of a pass."""
        firings = {}
        for modality, active in pairs.active.items():
            threshold = self.probes.threshold.to(active.latents.device)[active.latents]
            firings[modality] = active.where(active.values > threshold)
            self.fires[modality] += firings[modality].sums(power=0).long()
        self.n_pairs += len(pairs.rows.pair_index)
        self._waiting.append(firings)
        n_rows = sum(batch["image"].n_rows for batch in self._waiting)
        n_firings = sum(len(side.rows) for batch in self._waiting for side in batch.values())
        if n_rows >= _ROWS or n_firings > _MOST_FIRINGS:
            self._settle()

    def _settle(self) -> None:
        """Count what fires together in the batches that have waited."""
        from scipy.sparse import csr_array

        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        fires = {}
        # Few codes of a row are active, so few of all pairs of latents ever meet.
        for modality in MODALITIES:
            side = ActiveCodes.joined([batch[modality] for batch in waiting])
            ones = np.ones(len(side.rows), dtype=np.int32)
            cells = side.rows.cpu().numpy(), side.latents.cpu().numpy()
            fires[modality] = csr_array((ones, cells), shape=(side.n_rows, side.n_features))
        met = csr_array(fires["image"].T @ fires["text"])
        latent = torch.arange(len(self.candidates))[:, None].expand_as(self.candidates)
        on_image = self.probes.on_image[:, None]
        rows = torch.where(on_image, latent, self.candidates).numpy().ravel()
        columns = torch.where(on_image, self.candidates, latent).numpy().ravel()
        counted = np.asarray(met[rows, columns]).ravel().astype(np.int64)
        self._together += torch.from_numpy(counted).view_as(self._together)

    def merge(self, other: "PartnerCounts") -> "PartnerCounts":
        """Add the counts of other pairs; return `self`."""
        self._together += other.together
        for modality in MODALITIES:
            self.fires[modality] += other.fires[modality]
        self.n_pairs += other.n_pairs
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The counts as plain tensors."""
        return {
            "candidates": self.candidates,
            "together": self.together,
            "n_pairs": torch.tensor(self.n_pairs),
        } | {f"fires.{modality}": counts for modality, counts in self.fires.items()}


@dataclass(frozen=True)
class Partners:
    """The other half of each latent, where it has one."""

    partner: Int[Tensor, "n_features"]
    """Latent of the other side that fires for the same; -1 where there is none."""
    correlation: Float[Tensor, "n_features"]
    """float64: of the firings of both, over pairs; 0 where there is no partner."""


def partners(
    counts: PartnerCounts,
    n_images: int,
    told: Float[Tensor, "n_features"],
    carried: Bool[Tensor, "n_features"],
    level: float,
) -> Partners:
    """Choose each latent's partner among its candidates.

    It is the one whose firing on the other side goes best with the latent's own, if that is more
    than chance lets any two latents of the dictionary show, tells at least half of what the other
    side can tell of the latent, and more than the latent's own code there: a latent that fires on
    both sides needs no other half.

    Parameters
    ----------
    counts : PartnerCounts
        Of a whole store.
    n_images : int
        Captions of one image are no more than one fact.
    told : float64
        Share of the firing's variance that the other side's reading explains.
    carried : bool
        Latents that the other side speaks of, and not by association.
    level : float
        Probability that chance alone gives any latent a partner.
    """
    n_features, n_rows = len(counts.candidates), max(counts.n_pairs, 1)
    rate = {m: counts.fires[m].double() / n_rows for m in MODALITIES}
    on_image = counts.probes.on_image
    own = torch.where(on_image, rate["image"], rate["text"])[:, None]
    theirs = torch.where(
        on_image[:, None],
        rate["text"][counts.candidates],
        rate["image"][counts.candidates],
    )
    spread = (own * (1 - own) * theirs * (1 - theirs)).clamp_min(0).sqrt()
    covaries = counts.together / n_rows - own * theirs
    correlation = torch.where(spread > 0, covaries / spread.clamp_min(1e-300), 0.0)
    if correlation.shape[1] < 2:
        return Partners(torch.full((n_features,), -1), torch.zeros(n_features).double())
    best, place = correlation[:, 1:].max(1)
    # Any two latents might have become candidates.
    limit = -NormalDist().inv_cdf(level / n_features**2) / max(n_images, 1) ** 0.5
    is_partner = (
        carried & (best > limit) & (best > correlation[:, 0]) & (best**2 >= LEAST_SHARE * told)
    )
    partner = counts.candidates[:, 1:].gather(1, place[:, None])[:, 0]
    return Partners(
        torch.where(is_partner, partner, -1), torch.where(is_partner, best, 0.0).double()
    )


def decoder_cosine(
    directions: Float[Tensor, "n_features d"] | None, partner: Int[Tensor, "n_features"]
) -> Float[Tensor, "n_features"]:
    """Cosine of each latent's decoder direction with its partner's, float64, −1 to 1.

    NaN where there is no partner, or no decoder (`directions` is None). The halves of a concept lie
    on either side of the modality gap, so it says little by itself.
    """
    if directions is None:
        return torch.full(partner.shape, torch.nan, dtype=torch.float64)
    unit = torch.nn.functional.normalize(directions.to("cpu", torch.float64), dim=1)
    cosine = (unit * unit[partner.clamp_min(0)]).sum(1)
    return torch.where(partner >= 0, cosine, torch.nan)
