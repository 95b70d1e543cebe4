"""The embedding association test: do two sets of vectors lean to two sets of attributes unalike?

As for the word lists of Caliskan et al. 2017 (arXiv 1608.07187), with images in place of words.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.applications.bias.assignments import Assignments
from mm_sae_plugin.errors import UserError

_ROUNDING = 1e-9


@dataclass(frozen=True)
class EffectSize:
    """How far apart two sets lie on an association, in standard deviations."""

    d: float
    """Difference of the mean associations over their standard deviation (ddof = 1) in both sets."""
    p: float
    """Share of the ways to split all vectors into sets of these sizes that differ at least as far
    in the same direction."""
    floor: float
    """The least p that there can be."""
    is_exact: bool
    """Whether all ways were gone through."""


def association(
    vectors: Float[np.ndarray, "n d"],
    one: Float[np.ndarray, "n_one d"],
    other: Float[np.ndarray, "n_other d"],
) -> Float[np.ndarray, "n"]:
    """Return each vector's mean cosine with one set of attributes less that with the other.

    Parameters
    ----------
    vectors, one, other : float
        Of any length but zero.
    """
    towards, away = _unit(one).mean(0), _unit(other).mean(0)
    return _unit(vectors) @ (towards - away)


def effect_size(
    first: Float[np.ndarray, "n_first"], second: Float[np.ndarray, "n_second"], seed: int = 0
) -> EffectSize:
    """Compare the associations of two sets.

    Parameters
    ----------
    first, second : float
        What :func:`association` gives for the vectors of either set.
    seed : int
        Of the splits, where there are too many (over 20,000) to go through them all.

    Raises
    ------
    UserError
        If a set is empty, or all associations are equal.
    """
    if not len(first) or not len(second):
        raise UserError("An effect size needs vectors in both sets: one is empty.")
    values = np.concatenate([first, second])
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if spread <= _ROUNDING * float(np.abs(values).max()):
        raise UserError("All associations are equal: there is no effect size without a spread.")
    ways = Assignments(len(values), len(first), seed)
    observed = float(first.sum())
    # With sizes fixed, the difference of means grows with the sum over the first set alone.
    least = observed - _ROUNDING * float(np.abs(values).sum())
    reached = sum(bool(values[mask].sum() >= least) for mask in ways)
    d = float(first.mean() - second.mean()) / spread
    return EffectSize(d, ways.p(reached), ways.floor, ways.is_complete)


def _unit(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
