"""Random latents that are like a set of latents in all but what they stand for.

Removing many latents that fire often changes any measure. So a set is compared with random ones of
as many latents that fire as often and as strongly on either side. Where a dictionary has no such
latents (few of those that are text-dominant fire on images at all), the set says so, and the
removals have to be compared at equal |Δe| instead.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.stats.accumulator import ModalityStatistics

_CHANNELS = ("fires_image", "fires_text", "image_squared", "text_squared")
N_NEAREST = 8
"""Latents among which one is drawn in the place of each."""
TOLERANCE = 0.25
"""Relative difference of the sums (firings and energies) up to which a set counts as matched."""


@dataclass(frozen=True)
class MatchedSets:
    """Random sets in the place of one."""

    masks: Bool[Tensor, "n_sets n_features"]
    """Each with as many latents as the set, or with as many as there are; never those of it."""
    mismatch: dict[str, float]
    """Sum of a channel over a random set, over that of the set itself, less 1; the mean of all
    sets. ``n_latents`` is the same of their number."""

    @property
    def told(self) -> dict[str, float | None]:
        """The mismatch as numbers that JSON has: None where the set itself never fires."""
        return {name: value if isfinite(value) else None for name, value in self.mismatch.items()}

    @property
    def is_matched(self) -> bool:
        """Whether the random sets are as large as the set, and fire as often and as strongly."""
        return all(abs(value) <= TOLERANCE for value in self.mismatch.values())


def matched_sets(
    stats: ModalityStatistics,
    mask: Bool[Tensor, "n_features"],
    candidates: Bool[Tensor, "n_features"],
    n_sets: int = 20,
    seed: int = 0,
) -> MatchedSets:
    """Draw random sets matched on count, firing rates and energies.

    Parameters
    ----------
    stats : ModalityStatistics
        What the latents do on the store.
    mask : bool
        The set.
    candidates : bool
        Latents that may stand in; those of the set are left out of them.
    n_sets : int
        How many random sets.
    seed : int
        Of the draws.
    """
    sums = torch.stack([stats.channel(name) for name in _CHANNELS], dim=1).numpy()
    pool = (candidates & ~mask).nonzero()[:, 0].numpy()
    members = mask.nonzero()[:, 0].numpy()
    features = _standardized(np.log1p(sums))
    rng = np.random.default_rng(seed)
    drawn = [_draw(features, members, pool, rng) for _ in range(n_sets)]
    masks = torch.zeros(n_sets, len(mask), dtype=torch.bool)
    for row, chosen in zip(masks, drawn, strict=True):
        row[torch.from_numpy(chosen)] = True
    own = [*sums[members].sum(0), len(members)]
    others = np.mean([[*sums[chosen].sum(0), len(chosen)] for chosen in drawn], axis=0)
    names = (*_CHANNELS, "n_latents")
    return MatchedSets(masks, dict(zip(names, map(_mismatch, others, own), strict=True)))


def _mismatch(other: float, own: float) -> float:
    """Relative difference; two latents that never fire on one side are alike there."""
    if own > 0:
        return float(other / own - 1)
    return 0.0 if other == 0 else float("inf")


def _standardized(features: Float[np.ndarray, "n_features k"]) -> Float[np.ndarray, "n_features k"]:
    return (features - features.mean(0)) / np.maximum(features.std(0), 1e-12)


def _draw(
    features: Float[np.ndarray, "n_features k"],
    members: np.ndarray,
    pool: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw for each member, in random order, one of the nearest that are left."""
    free = np.ones(len(pool), dtype=bool)
    chosen = []
    for member in rng.permutation(members):
        if not free.any():
            break
        distance = np.linalg.norm(features[pool] - features[member], axis=1)
        distance[~free] = np.inf
        nearest = np.argsort(distance, kind="stable")[: min(N_NEAREST, int(free.sum()))]
        one = rng.choice(nearest)
        free[one] = False
        chosen.append(pool[one])
    return np.array(chosen, dtype=np.int64)
