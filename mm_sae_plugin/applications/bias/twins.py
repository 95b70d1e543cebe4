"""Counterfactual twins: pictures that differ in one thing, so that a gap is of that thing alone.

Groups of different people differ in much besides the group. FactorWorld can draw the same scene,
with the same noise, and one factor changed; the gap between such twins is far sharper. The same
flips of other factors (age, colour, skin, place) say how large gaps are that mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.bias.contrast import Contrast, contrast_of_groups
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.factorworld.factors import FACTORS

if TYPE_CHECKING:
    from PIL.Image import Image

TWIN_SEED = 5_000
"""Seed of the world that twins are drawn from; no model was trained on it."""
GENDER = ("gender", "woman", "man")
"""The flip that an audit asks about."""
NUISANCES = (
    ("age", "young", "old"),
    ("colour", "red", "blue"),
    ("colour", "orange", "green"),
    ("colour", "yellow", "purple"),
    ("colour", "pink", "black"),
    ("skin", "light", "dark"),
    ("skin", "tan", "brown"),
    ("place", "left", "right"),
)
"""Flips of factors that no association was planted for; no value stands in two of them."""


@dataclass(frozen=True)
class TwinPictures:
    """Pictures of people, target by target, that differ in one factor."""

    flip: tuple[str, str, str]
    """The factor, its first and its second value."""
    targets: tuple[str, ...]
    """Occupation of each pair."""
    first: list[Image]
    """With the first value."""
    second: list[Image]
    """The same scenes with the second."""


@lru_cache(maxsize=2 * (len(NUISANCES) + 1))
def draw_twins(
    flip: tuple[str, str, str] = GENDER,
    n_per_target: int = 25,
    seed: int = TWIN_SEED,
    redrawn: str | None = None,
) -> TwinPictures:
    """Draw twins for every occupation; only the flipped factor differs, the noise is the same.

    Both of a pair can be drawn with another value of a further factor, ``redrawn``, than they would
    have: the next one in the world's table. The pictures are kept, for the next model that is shown
    them.
    """
    assert n_per_target >= 1 and redrawn not in (flip[0], "occupation")
    factor, first, second = flip
    occupations = FACTORS["occupation"].values
    world = FactorWorld(seed)
    targets, pictures = [], ([], [])
    for index in range(n_per_target * len(occupations)):
        occupation = occupations[index % len(occupations)]
        targets.append(occupation)
        other = {} if redrawn is None else {redrawn: _next_value(world, index, redrawn)}
        for value, side in zip((first, second), pictures, strict=True):
            asked = {"occupation": occupation, factor: value, **other}
            side.append(world.pair_with(index, asked, "person").image)
    return TwinPictures(flip, tuple(targets), *pictures)


def _next_value(world: FactorWorld, index: int, factor: str) -> str:
    values = world.factors[factor].values
    usual = world.scene(index).values[factor]
    return values[(values.index(usual) + 1) % len(values)]


def twin_contrast(twins: TwinPictures, scale: float) -> Contrast:
    """Compare the first of each pair with the second; images are first all of the former."""
    n = len(twins.targets)
    is_first = [True] * n + [False] * n
    return contrast_of_groups(is_first, twins.targets * 2, sorted(set(twins.targets)), scale)


def gaps_of_pairs(
    images: Float[Tensor, "two_n d"],
    of_pair: Sequence[str],
    prompts: Mapping[str, Float[Tensor, "d"]],
    scale: float,
) -> dict[str, Float[np.ndarray, "n_pairs"]]:
    """Return, for every target, the gap in logits of each of its own pairs of twins.

    Parameters
    ----------
    images : float
        Unit-length vectors, the first of all pairs and then the second.
    of_pair : sequence of str
        Target of each pair.
    prompts : mapping of str to float
        Target to the mean of its prompts' vectors.
    scale : float
        What the model multiplies cosines by.
    """
    first, second = images.chunk(2)
    names = np.array(of_pair)
    return {
        target: scale * ((first - second)[torch.from_numpy(names == target)] @ prompt).numpy()
        for target, prompt in prompts.items()
    }


def spread(gaps: Mapping[str, float]) -> float:
    """Return the root mean square of gaps around their mean: what differs between targets."""
    return float(np.std(list(gaps.values())))
