"""Is the one group's information held by image latents, and the other's by text latents?

Yan et al. 2025 say so of gender: removing ImgD latents hurts what is feminine, removing TextD ones
what is masculine. Removing any latents shifts some images towards either group's words, so that an
interaction is asked for: what ImgD takes more of the first group than TextD does, less the same of
the second, and more than random latents that fire alike would give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.bias.evidence import Evidence
from mm_sae_plugin.applications.bias.permutation import Interval, bootstrap_interval
from mm_sae_plugin.features.feature_map import Decodable
from mm_sae_plugin.interventions.removal import Removal
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.matched_sets import matched_sets

LEVEL = 0.05
"""Of the share of random sets that lie as far."""
NEGLIGIBLE = 0.1
"""Share of the whole margin between the groups below which an interaction is called none."""


@dataclass(frozen=True)
class Asymmetry:
    """The interaction of class and group."""

    first: str
    """The group that is said to lie in ImgD."""
    second: str
    """The one that is said to lie in TextD."""
    value: float | None
    """In logits; above 0 is the way that is claimed. None where a class has no latents."""
    interval: Interval | None
    """Over people or twins."""
    random: tuple[float, ...]
    """The same with random latents in the place of either class."""
    whole: float
    """Mean margin by which images are nearer to their own group's sentences than to the other's."""
    moved: float
    """|Δe| / |e| of every vector, the same for all."""
    verdict: str
    """`supported`, `not supported` or `undecided`."""
    reason: str
    """Why, in one sentence."""


def asymmetry(
    feature_map: Decodable,
    labels: ModalityDominance,
    evidence: Evidence,
    n_random: int = 20,
    seed: int = 0,
) -> Asymmetry:
    """Test whether ImgD latents hold the first group, and TextD latents the second.

    Both classes are removed from images and sentences, and move every vector equally far.

    Parameters
    ----------
    feature_map : Decodable
        Of the joint space.
    labels : ModalityDominance
        Their classes are what is asked about.
    evidence : Evidence
        Images that nothing was chosen by.
    n_random : int
        Random sets in the place of either class, at least 20 for a level of .05.
    seed : int
        Of the sets and of the bootstrap.
    """
    masks = {name: _mask(labels, name) for name in ("ImgD", "TextD")}
    removing = _Removing(feature_map, evidence)
    whole = float(removing.whole.mean())
    lacking = [name for name, mask in masks.items() if not mask.any()]
    if lacking:
        reason = f"No latent is labelled {lacking[0]}, so that nothing can be removed."
        return Asymmetry(
            evidence.first, evidence.second, None, None, (), whole, 0.0, "undecided", reason
        )
    norm = min(removing.moved(mask) for mask in masks.values())
    of_image = evidence.is_first

    def interaction(lost: Float[np.ndarray, "n"]) -> float:
        return float(lost[of_image].mean() - lost[~of_image].mean())

    lost = removing.lost(masks["ImgD"], norm) - removing.lost(masks["TextD"], norm)
    sets = {
        name: matched_sets(labels.statistics, mask, labels.alive, n_random, seed).masks
        for name, mask in masks.items()
    }
    random = tuple(
        interaction(removing.lost(one, norm) - removing.lost(other, norm))
        for one, other in zip(sets["ImgD"], sets["TextD"], strict=True)
    )
    value = interaction(lost)
    interval = bootstrap_interval(
        lambda at: _interaction_at(lost[at], of_image[at], value),
        len(lost),
        evidence.cluster,
        seed=seed,
    )
    verdict, reason = _judged(value, interval, random, whole, evidence)
    return Asymmetry(
        evidence.first, evidence.second, value, interval, random, whole, norm, verdict, reason
    )


class _Removing:
    """What images lose of their margin when latents are removed."""

    def __init__(self, feature_map: Decodable, evidence: Evidence) -> None:
        self._evidence = evidence
        self._images = Removal(feature_map, evidence.images, "image")
        self._words = {
            name: Removal(feature_map, rows, "text") for name, rows in evidence.words.items()
        }
        words = {name: evidence.words[name] for name in self._words}
        self.whole = self._margin(evidence.images, words)

    def moved(self, mask: Bool[Tensor, "n_features"]) -> float:
        """Mean |Δe| / |e| over images and sentences."""
        parts = [self._images, *self._words.values()]
        return sum(part.share_moved(mask) for part in parts) / len(parts)

    def lost(self, mask: Bool[Tensor, "n_features"], norm: float) -> Float[np.ndarray, "n"]:
        words = {name: rows.without(mask, norm) for name, rows in self._words.items()}
        return self.whole - self._margin(self._images.without(mask, norm), words)

    def _margin(self, images: Tensor, words: dict[str, Tensor]) -> Float[np.ndarray, "n"]:
        first, second = self._evidence.first, self._evidence.second
        towards = words[first].mean(0) - words[second].mean(0)
        own = torch.from_numpy(np.where(self._evidence.is_first, 1.0, -1.0)).to(images)
        return (self._evidence.scale * own * (images @ towards)).numpy()


def _mask(labels: ModalityDominance, name: str) -> Bool[Tensor, "n_features"]:
    return torch.tensor([entry == name for entry in labels.classes])


def _interaction_at(
    lost: Float[np.ndarray, "n"], is_first: Bool[np.ndarray, "n"], otherwise: float
) -> float:
    # A resample of people may hold one group only, where there are few.
    if is_first.all() or not is_first.any():
        return otherwise
    return float(lost[is_first].mean() - lost[~is_first].mean())


def _judged(
    value: float,
    interval: Interval,
    random: tuple[float, ...],
    whole: float,
    evidence: Evidence,
) -> tuple[str, str]:
    above = (1 + sum(one >= value for one in random)) / (1 + len(random))
    below = (1 + sum(one <= value for one in random)) / (1 + len(random))
    told = (
        f"Taking ImgD rather than TextD latents costs {evidence.first!r} {value:+.2f} logits more "
        f"than {evidence.second!r} [{interval.low:+.2f}, {interval.high:+.2f}]"
    )
    if interval.low > 0 and above <= LEVEL:
        return "supported", f"{told}, more than random latents that fire alike (p {above:.2f})."
    if interval.high < 0 and below <= LEVEL:
        return "not supported", f"{told}: the other way, beyond random latents (p {below:.2f})."
    if max(abs(interval.low), abs(interval.high)) <= NEGLIGIBLE * abs(whole):
        return "not supported", f"{told}: below a tenth of the whole margin of {whole:.2f}."
    if interval.low <= 0 <= interval.high:
        return "undecided", f"{told}: either way is possible."
    reached = above if value > 0 else below
    return "undecided", f"{told}, but so do random latents that fire alike (p {reached:.2f})."
