"""What adding a latent does: does the model then see what the latent stands for?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.causal.resampling import Estimate, Resamples, rounded
from mm_sae_plugin.applications.causal.targets import Targets
from mm_sae_plugin.features.feature_map import Decodable

READABLE = 0.8
"""Area under the ROC curve from which a latent counts as readable."""
# Latents whose effects on all images are held at a time.
_BLOCK = 512


@dataclass(frozen=True)
class Steerability:
    """How every latent steers, and how well it is read."""

    targets: Targets
    """What it stands for."""
    share_moved: float
    """|Δe| / |e| of the latent that is added."""
    effect: Float[np.ndarray, "n_latents"]
    """Rise of the similarity with captions that name it, less the rise with others, mean over
    images; NaN where no caption names it."""
    low: Float[np.ndarray, "n_latents"]
    """Low end of its interval over images."""
    high: Float[np.ndarray, "n_latents"]
    """High end."""
    of_best: Float[np.ndarray, "n_latents"]
    """The effect as a share of what moving as far along the captions' own difference does; 1 where
    the latent points exactly there."""

    def columns(self) -> dict[str, np.ndarray]:
        """Return a column for each figure, one row a latent; NaN (and "") where unknown."""
        areas = self.targets.readability
        return {
            "steerability": self.effect,
            "steerability_low": self.low,
            "steerability_high": self.high,
            "steerability_of_best": self.of_best,
            "steerability_n_captions": self.targets.n_captions.numpy(),
            "readability": _numbers([one.value for one in areas]),
            "readability_low": _numbers([one.low for one in areas]),
            "readability_high": _numbers([one.high for one in areas]),
            "steered_factor": np.array(self.targets.factor, dtype=object),
            "steered_value": np.array(self.targets.value, dtype=object),
            "steered_eta2": self.targets.eta2,
        }

    def record(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return what the columns say in sum, as plain JSON.

        Parameters
        ----------
        classes : sequence of str
            Modality class of each latent.
        """
        columns = self.columns()
        steered = np.isfinite(self.effect)
        read = np.nan_to_num(columns["readability_low"], nan=0.0) >= 0.5
        readable = read & (np.nan_to_num(columns["readability"], nan=0.0) >= READABLE)
        steers = steered & (np.nan_to_num(self.low, nan=-1.0) > 0)
        of = np.array(classes)
        names = [name for name in dict.fromkeys(classes) if name != "Dead"]
        return {
            "kind": self.targets.kind,
            "share_moved": self.share_moved,
            "n_steered": int(steered.sum()),
            "n_steering": int(steers.sum()),
            "n_readable": int(readable.sum()),
            "n_both": int((readable & steers).sum()),
            "readable_from": READABLE,
            "rank_correlation": _rank_correlation(columns["readability"], self.effect),
            "by_class": {
                name: {
                    "n_latents": int((of == name).sum()),
                    "n_steered": int((steered & (of == name)).sum()),
                    "steerability": _median(self.effect[of == name]),
                    "steerability_of_best": _median(self.of_best[of == name]),
                    "readability": _median(columns["readability"][of == name]),
                }
                for name in names
            },
        }


@torch.no_grad()
def steerability(
    feature_map: Decodable,
    images: Float[Tensor, "n_images d"],
    targets: Targets,
    share: float,
    resamples: Resamples,
) -> Steerability:
    """Add each latent to every image, and see what its similarities with captions do.

    ``e' = e + share · |e| · d / |d|`` with d the latent's decoder direction, made of unit length
    again: what an edit that adds the latent does at that relative norm. Similarities are linear in
    the captions, so that of each latent only their mean difference is needed.

    Parameters
    ----------
    feature_map : Decodable
        Of the joint space.
    images : float
        Unit-length vectors of the gallery's images.
    targets : Targets
        What each latent stands for.
    share : float
        |Δe| / |e|, above 0.
    resamples : Resamples
        Of the images.
    """
    directions = normalize(feature_map.directions.float().cpu(), dim=1)
    found = []
    for block in torch.arange(len(directions)).split(_BLOCK):
        contrast = targets.contrast[block]
        effects = _effects(images, directions[block], contrast, share).numpy()
        best = _effects(images, normalize(contrast, dim=1), contrast, share).mean(0).numpy()
        drawn = resamples.images @ effects / resamples.images.sum(1, keepdims=True)
        ends = [Estimate.of(column, resamples.confidence) for column in drawn.T]
        found.append(
            (
                _numbers([one.value for one in ends]),
                _numbers([one.low for one in ends]),
                _numbers([one.high for one in ends]),
                np.divide(drawn[0], best, out=np.full(len(best), np.nan), where=best > 0),
            )
        )
    named = targets.is_named.numpy()
    effect, low, high, of_best = (
        np.where(named, np.concatenate(column), np.nan) for column in zip(*found, strict=True)
    )
    return Steerability(targets, share, effect, low, high, of_best)


def _effects(
    images: Float[Tensor, "n_images d"],
    directions: Float[Tensor, "n d"],
    contrast: Float[Tensor, "n d"],
    share: float,
) -> Float[Tensor, "n_images n"]:
    """Rise of each image's similarity with each contrast when its direction is added."""
    before = images @ contrast.T
    along = images @ directions.T
    length = (1 + 2 * share * along + share**2).clamp_min(1e-12).sqrt()
    return (before + share * (directions * contrast).sum(1)) / length - before


def _numbers(values: Sequence[float | None]) -> Float[np.ndarray, "n"]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _median(values: Float[np.ndarray, "n"]) -> float | None:
    known = values[np.isfinite(values)]
    return rounded(float(np.median(known))) if len(known) else None


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> dict[str, float | int | None]:
    """Spearman's, over the latents that have both."""
    from scipy.stats import rankdata

    known = np.isfinite(one) & np.isfinite(other)
    n = int(known.sum())
    varies = n > 2 and np.ptp(one[known]) > 0 and np.ptp(other[known]) > 0
    ranks = np.stack([rankdata(one[known]), rankdata(other[known])])
    value = float(np.corrcoef(ranks)[0, 1]) if varies else None
    return {"value": rounded(value), "n": n}
