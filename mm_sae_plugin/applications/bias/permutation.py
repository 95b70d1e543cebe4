"""Is it more than chance: labels permuted, many tests at once, and intervals over people.

What is tested is a signed quantity. A difference of the largest and the smallest is above zero
however little there is to find, and its interval says nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.shares import Share

_ROUNDING = 1e-9
_MOST_PAIRS = 14
"""Of twins, up to which all 2 ** n ways to swap them are gone through."""


@dataclass(frozen=True)
class Shuffle:
    """How labels are permuted for the value under no bias."""

    identities: tuple[str, ...] | None = None
    """Of each image, who it shows: a person's images keep one label. None: each for itself."""
    n_permutations: int = 1_000
    """How many permutations."""
    seed: int = 0
    """Of the permutations."""

    def of(self, labels: Shaped[np.ndarray, "n"]) -> Iterator[Shaped[np.ndarray, "n"]]:
        """Permute labels, time and again.

        Raises
        ------
        UserError
            If there is another number of identities, or one has two labels.
        """
        first, person = one_row_each(labels, self.identities)
        rng = np.random.default_rng(self.seed)
        for _ in range(self.n_permutations):
            yield rng.permutation(labels[first])[person]


@dataclass(frozen=True)
class PermutationTest:
    """A signed quantity beside its values under permuted labels."""

    value: float
    """As it was observed."""
    p: float
    """(1 + b) / (1 + m): b of m permutations are at least as far from zero, on either side."""
    n_permutations: int
    """m."""
    band: tuple[float, float]
    """Middle 95% of the permutations."""


def permutation_test(
    statistic: Callable[[np.ndarray], float],
    labels: Shaped[np.ndarray, "n"],
    shuffle: Shuffle | None = None,
) -> PermutationTest:
    """Test a signed quantity that is zero on average if labels mean nothing.

    Parameters
    ----------
    statistic : callable
        From labels to the quantity.
    labels : array
        Of each image.
    shuffle : Shuffle, optional
        How they are permuted.

    Raises
    ------
    UserError
        If identities do not fit the labels, or the quantity is not finite.
    """
    shuffle = shuffle or Shuffle()
    value = float(statistic(labels))
    null = np.array([statistic(permuted) for permuted in shuffle.of(labels)], dtype=float)
    return _tested(value, null)


def paired_test(
    differences: Float[np.ndarray, "n_pairs"], n_permutations: int = 9_999, seed: int = 0
) -> PermutationTest:
    """Test the mean difference of twins, whose labels are permuted within each pair.

    Up to 14 pairs all ways to swap them are gone through, and p counts the observed way once.

    Parameters
    ----------
    differences : float
        The first of each pair less the second.
    n_permutations : int
        How many ways, where there are more pairs.
    seed : int
        Of them.

    Raises
    ------
    UserError
        If there are no pairs, or a difference is not finite.
    """
    n = len(differences)
    if n == 0:
        raise UserError("There are no pairs of twins to test.")
    # Ways that tie with the one observed must not miss it by the rounding of short numbers.
    differences = differences.astype(np.float64)
    value = float(differences.mean())
    if n <= _MOST_PAIRS:
        # The way numbered 0 swaps nothing: it is the one observed, which (1 + b) counts.
        ways = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1
        return _tested(value, (1 - 2 * ways) @ differences / n)
    rng = np.random.default_rng(seed)
    null = [rng.choice((-1.0, 1.0), n) @ differences / n for _ in range(n_permutations)]
    return _tested(value, np.array(null))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p of many tests, so that .05 bounds the chance of even one false alarm.

    Parameters
    ----------
    p_values : mapping of str to float
        Name of a test to its p, 0 to 1.

    Returns
    -------
    dict of str to float
        In the order given.
    """
    assert all(0 <= p <= 1 for p in p_values.values()), p_values
    adjusted, least = {}, 0.0
    ordered = sorted(p_values, key=p_values.__getitem__)
    for rank, name in enumerate(ordered):
        least = max(least, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


@dataclass(frozen=True)
class Interval:
    """Between what a value lies."""

    low: float
    """Low end."""
    high: float
    """High end."""
    n_clusters: int
    """People (images, where nobody is named) that it was resampled over."""
    confidence: float = 0.95
    """Share of such intervals that are to hold the true value."""


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    n: int,
    identities: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    n_resamples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval over people drawn with replacement, with all their images.

    Parameters
    ----------
    statistic : callable
        From indices of images, int [m], to the quantity; an image may come more than once.
    n : int
        Number of images.
    identities : sequence of str, optional
        Of each image, who it shows.
    groups : sequence of str, optional
        Of each image: as many people are drawn of each group as it has, so that none is empty.
    n_resamples, confidence, seed
        Of the bootstrap.

    Raises
    ------
    UserError
        If a group has fewer than two people, a person is in two groups, or the quantity is not
        finite.
    """
    strata = np.zeros(n, dtype=int) if groups is None else np.unique(groups, return_inverse=True)[1]
    first, person = one_row_each(strata, identities)
    of_person = np.split(np.argsort(person, kind="stable"), np.cumsum(np.bincount(person))[:-1])
    people = [np.flatnonzero(strata[first] == stratum) for stratum in np.unique(strata)]
    if min(len(members) for members in people) < 2:
        raise UserError("An interval needs at least two people in each group: give more images.")
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(n_resamples):
        drawn = np.concatenate([rng.choice(members, len(members)) for members in people])
        values.append(statistic(np.concatenate([of_person[one] for one in drawn])))
    _check_finite(np.array(values, dtype=float), "resamples")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), len(first), confidence)


def proportion_interval(count: int, n: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of ``count`` in ``n`` independent trials, at least one."""
    share = Share.of(count, n, confidence)
    assert share.low is not None and share.high is not None
    return Interval(share.low, share.high, n, confidence)


def one_row_each(
    labels: Shaped[np.ndarray, "n"], identities: Sequence[str] | None
) -> tuple[Int[np.ndarray, "n_people"], Int[np.ndarray, "n"]]:
    """Return a row of each person, and of each row the number of its person.

    Raises
    ------
    UserError
        If there is another number of identities, or one has two labels.
    """
    if identities is None:
        return np.arange(len(labels)), np.arange(len(labels))
    if len(identities) != len(labels):
        raise UserError(
            f"There are {len(identities)} identities for {len(labels)} images: give one for each."
        )
    names, first, person = np.unique(identities, return_index=True, return_inverse=True)
    twofold = labels != labels[first][person]
    if twofold.any():
        name = str(names[person[twofold.argmax()]])
        raise UserError(
            f"The identity {name!r:.60} is in two groups: an identity is one person of one group."
        )
    return first, person


def _tested(value: float, null: Float[np.ndarray, "m"]) -> PermutationTest:
    # Nothing is as far as NaN is, so that p would be the least that there is.
    _check_finite(np.append(null, value), "labellings")
    reached = int((np.abs(null) >= abs(value) * (1 - _ROUNDING)).sum())
    low, high = np.quantile(null, [0.025, 0.975]) if len(null) else (value, value)
    p = (1 + reached) / (1 + len(null))
    return PermutationTest(value, p, len(null), (float(low), float(high)))


def _check_finite(values: Float[np.ndarray, "m"], of: str) -> None:
    n_strange = int((~np.isfinite(values)).sum())
    if n_strange:
        raise UserError(
            f"The quantity is not finite in {n_strange} of {len(values)} {of}: check that every "
            "value is, and that no part it needs may be left without images."
        )
