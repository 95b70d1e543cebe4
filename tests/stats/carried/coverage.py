"""How often the intervals of carried dominance hold the truth, in worlds of known rates."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import nan
from statistics import median
from typing import Literal, get_args

from mm_sae_plugin.modality import MODALITIES
from mm_sae_plugin.stats.carried.score import carried_dominance
from tests.stats.carried.worlds import world

Kind = Literal["unequal", "equal", "edge"]
"""Of two rates: both above 0, both the same, or one of them 0."""
KINDS: tuple[Kind, ...] = get_args(Kind)
RATES = (0.0, 0.05, 0.15, 0.4, 1.0)
CELLS = [(drawn, said) for drawn in RATES for said in RATES if drawn + said > 0]
LEAST_JOINT = 30
"""Pairs that must be expected to show a value on both sides before a latent has to be decidable."""
LEAST_READ = 0.5
"""Share of the firing's variance that the own side must explain, likewise."""
# A truth that is the end of its interval is held.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Worlds:
    """Worlds that differ by their seed alone."""

    n_values: int
    noise: float
    n_pairs: int = 16_000
    captions: int = 1
    extra: int = 0
    """Dimensions of captions more than of images."""


@dataclass(frozen=True)
class Case:
    """One latent, seen from its own side: what is true of it, and what was found."""

    kind: Kind
    truth: float
    """Dominance of the own side."""
    low: float
    high: float
    decidable: bool
    due: bool
    """Whether it has to be decidable."""

    @property
    def is_below(self) -> bool:
        return self.truth < self.low - _ROUNDING

    @property
    def is_above(self) -> bool:
        return self.truth > self.high + _ROUNDING


def cases(worlds: Worlds, seed: int) -> Iterator[Case]:
    """Label both halves of every factor of one world."""
    pairs = world(
        CELLS,
        n_pairs=worlds.n_pairs,
        n_values=worlds.n_values,
        captions=worlds.captions,
        noise=worlds.noise,
        extra=worlds.extra,
        seed=seed,
    )
    for side in MODALITIES:
        found = carried_dominance(pairs.latents(side), pairs.store)
        for latent, rates in enumerate(CELLS):
            own, other = rates if side == "image" else rates[::-1]
            if own == 0:
                continue
            low, high = found.intervals[latent].tolist()
            joint = worlds.n_pairs / worlds.n_values * own * other
            yield Case(
                kind=kind_of(own, other),
                truth=own / (own + other),
                low=low if side == "image" else 1 - high,
                high=high if side == "image" else 1 - low,
                decidable=bool(found.decidable[latent]),
                due=joint >= LEAST_JOINT and bool(found.read_own[latent] >= LEAST_READ),
            )


def kind_of(own: float, other: float) -> Kind:
    if other == 0:
        return "edge"
    return "equal" if own == other else "unequal"


@dataclass(frozen=True)
class Coverage:
    """What the intervals of many cases are worth; shares and width are of the decidable ones.

    NaN stands for a share of nothing.
    """

    n: int
    n_decidable: int
    held: float
    below: float
    """Share of truths that lie below their interval."""
    above: float
    width: float
    """Median."""
    undecidable: float
    """Share of the latents that have to be decidable and are not."""

    @classmethod
    def of(cls, found: Iterable[Case]) -> "Coverage":
        found = list(found)
        decided = [case for case in found if case.decidable]
        due = [case for case in found if case.due]
        return cls(
            n=len(found),
            n_decidable=len(decided),
            held=_share(decided, lambda case: not case.is_below and not case.is_above),
            below=_share(decided, lambda case: case.is_below),
            above=_share(decided, lambda case: case.is_above),
            width=median(case.high - case.low for case in decided) if decided else nan,
            undecidable=_share(due, lambda case: not case.decidable),
        )


def _share(found: list[Case], holds: Callable[[Case], bool]) -> float:
    return sum(map(holds, found)) / len(found) if found else nan
