"""Which latents keep their class in an SAE that was trained from another seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.feature_matching import FeatureMatching
from mm_sae_plugin.stats.kappa_interval import Kappa, kappa_with_interval
from mm_sae_plugin.stats.shares import Share

ALIVE, DECIDED = "alive", "decided"
"""All latents that are not dead, and those of them that have one of the three modality classes."""
_DECIDED = ("ImgD", "CrossD", "TextD")
_LIVING = tuple(name for name in CLASSES if name != "Dead")


@dataclass(frozen=True)
class Survivors:
    """What became of one group of latents."""

    matched: Share
    """Share that the other SAE has: with a partner that is near enough."""
    of_alive: Share
    """Share of all in the group whose class survives; one that is not matched does not."""
    of_matched: Share
    """Share of those matched."""
    chance: float | None
    """What `of_matched` would be on average if partners were drawn by lot; None where none is
    matched."""
    chance_interval: tuple[float, float] | None
    """Range of the middle 95% (or as many as asked for) of the random matchings."""
    p_value: float | None
    """Share of the random matchings in which as many survive, this one counted among them."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        low, high = self.chance_interval or (None, None)
        return {
            "matched": self.matched.record(),
            "of_alive": self.of_alive.record(),
            "of_matched": self.of_matched.record(),
            "chance": {"value": self.chance, "low": low, "high": high, "n": self.of_matched.n},
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class ClassSurvival:
    """Classes of one SAE's latents against those of their partners in another."""

    min_cosine: float
    """From which decoder cosine on two latents are called the same."""
    groups: dict[str, Survivors]
    """`alive`, `decided`, then each class of the first SAE but `Dead`."""
    kappa: Kappa
    """Agreement of both classes over matched latents."""
    table: dict[str, dict[str, int]]
    """Matched latents by their class in the first SAE, then in the second."""
    median_cosine: float | None
    """Of all latents alive with their partners, however near; None where there are none."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "min_cosine": self.min_cosine,
            "groups": {name: group.record() for name, group in self.groups.items()},
            "kappa": self.kappa.record(),
            "classes": self.table,
            "median_cosine": self.median_cosine,
        }


def class_survival(
    first: Sequence[str],
    second: Sequence[str],
    matching: FeatureMatching,
    min_cosine: float = 0.7,
    n_shuffles: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ClassSurvival:
    """Compare the classes of latents with those of their partners in another dictionary.

    Chance is what is left when the partners of the matched latents are dealt out anew: the same
    classes on both sides, in the same numbers, but of other latents.

    Parameters
    ----------
    first, second : sequence of str
        Classes (`config.CLASSES`) of the latents of both dictionaries.
    matching : FeatureMatching
        A partner in the second for each latent of the first; dead ones have none.
    min_cosine : float
        A partner that is further away is none.
    n_shuffles : int
        Random matchings.
    confidence : float
        Of Wilson's intervals, of kappa's, and of the range of chance.
    seed : int
        Of the random matchings and of kappa's bootstrap.
    """
    own = np.array(first, dtype=object)
    assert len(own) == len(matching.partner)
    alive = own != "Dead"
    matched = matching.within(min_cosine).numpy() & alive
    there = np.array(second, dtype=object)[matching.partner.numpy()[matched]]
    assert "Dead" not in there, "a dead latent is nobody's partner"
    by_chance = _shuffled(own[matched], there, n_shuffles, seed)
    groups = {ALIVE: alive, DECIDED: np.isin(own, _DECIDED)}
    groups |= {name: own == name for name in _LIVING}
    survivors = {
        name: _survivors(group, matched, own, there, by_chance, confidence)
        for name, group in groups.items()
    }
    cosines = matching.cosine[matching.partner >= 0]
    return ClassSurvival(
        min_cosine=min_cosine,
        groups=survivors,
        kappa=kappa_with_interval(list(own[matched]), list(there), confidence, seed=seed),
        table={name: _counts(there[own[matched] == name]) for name in _LIVING},
        median_cosine=float(cosines.quantile(0.5)) if len(cosines) else None,
    )


@dataclass(frozen=True)
class SurvivalAtCosine:
    """Survival of the latents with a modality class, at one border of the cosine."""

    min_cosine: float
    """From which decoder cosine on two latents are called the same."""
    matched: Share
    """Share that the other SAE has."""
    of_matched: Share
    """Share of those whose class survives."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "min_cosine": self.min_cosine,
            "matched": self.matched.record(),
            "of_matched": self.of_matched.record(),
        }


def survival_by_cosine(
    first: Sequence[str],
    second: Sequence[str],
    matching: FeatureMatching,
    cosines: Sequence[float],
    confidence: float = 0.95,
) -> tuple[SurvivalAtCosine, ...]:
    """Say what hangs on where two latents begin to be the same; see :func:`class_survival`."""
    own = np.array(first, dtype=object)
    is_same = own == np.array([*second, ""], dtype=object)[matching.partner.numpy()]
    decided, results = np.isin(own, _DECIDED), []
    for cosine in cosines:
        matched = matching.within(cosine).numpy() & decided
        n_matched, n_same = int(matched.sum()), int((matched & is_same).sum())
        results.append(
            SurvivalAtCosine(
                min_cosine=cosine,
                matched=Share.of(n_matched, int(decided.sum()), confidence),
                of_matched=Share.of(n_same, n_matched, confidence),
            )
        )
    return tuple(results)


def _shuffled(
    own: np.ndarray, there: np.ndarray, n_shuffles: int, seed: int
) -> Bool[np.ndarray, "n_shuffles n_matched"]:
    """Whether each matched latent's class survives in each of some random matchings."""
    rng = np.random.default_rng(seed)
    # Numbers are compared many times faster than strings.
    number = {name: at for at, name in enumerate(CLASSES)}
    mine, theirs = (
        np.array([number[name] for name in side], dtype=np.int8) for side in (own, there)
    )
    survives = np.empty((n_shuffles, len(mine)), dtype=bool)
    for row in survives:
        row[:] = mine == rng.permutation(theirs)
    return survives


def _survivors(
    group: Bool[np.ndarray, "n_latents"],
    matched: Bool[np.ndarray, "n_latents"],
    own: np.ndarray,
    there: np.ndarray,
    by_chance: Bool[np.ndarray, "n_shuffles n_matched"],
    confidence: float,
) -> Survivors:
    inside = group[matched]
    n_group, n_matched = int(group.sum()), int(inside.sum())
    n_survived = int((own[matched] == there)[inside].sum())
    chance, interval, p_value = None, None, None
    if n_matched:
        counts = by_chance[:, inside].sum(axis=1)
        chance = float(counts.mean() / n_matched)
        interval = _middle(counts / n_matched, confidence)
        p_value = float((1 + (counts >= n_survived).sum()) / (1 + len(counts)))
    return Survivors(
        matched=Share.of(n_matched, n_group, confidence),
        of_alive=Share.of(n_survived, n_group, confidence),
        of_matched=Share.of(n_survived, n_matched, confidence),
        chance=chance,
        chance_interval=interval,
        p_value=p_value,
    )


def _middle(values: Float[np.ndarray, "n"], confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _counts(classes: np.ndarray) -> dict[str, int]:
    counts = Counter(classes.tolist())
    return {name: counts[name] for name in _LIVING}
