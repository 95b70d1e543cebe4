"""How differently one prompt takes the images of different groups, beside the value without bias.

Conventions, the same everywhere: logarithms are natural unless bits are asked for; images whose
logits tie count as their expectation under random order; nothing is smoothed, and a group of which
no image is found has a skew of -inf, which never is the largest. Every value is compared with those
under permuted labels, since without any bias a MaxSkew or an NDKL still is above zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mm_sae_plugin.applications.bias.permutation import Shuffle
from mm_sae_plugin.applications.bias.ranking import (
    chance_max_skew,
    checked_k,
    divergence,
    found_at,
    max_skew,
    runs_of_ties,
)
from mm_sae_plugin.errors import UserError


@dataclass(frozen=True)
class Metric:
    """A value, and what it would be if groups did not matter."""

    value: float
    """As it was observed."""
    expected: float
    """The mean under no bias, with the same logits and as many images of each group."""
    band: tuple[float, float]
    """Middle 95% of what it is under no bias."""


def logit_gap(
    logits: Float[np.ndarray, "n"],
    groups: Sequence[str],
    first: str,
    shuffle: Shuffle | None = None,
    second: str | None = None,
) -> Metric:
    """Return the mean logit of one group less that of another, or of all others.

    Parameters
    ----------
    logits : float
        Of every image: cosine times the model's scale.
    groups : sequence of str
        Of every image.
    first : str
        The group that is compared.
    shuffle : Shuffle, optional
        How labels are permuted for the value under no bias.
    second : str, optional
        The group that it is compared with; by default all images of other groups.

    Raises
    ------
    UserError
        If a logit is not finite, there are other than ``n`` groups, one only, or none of that name.
    """
    return _gap(logits, groups, first, shuffle, second)


def share_gap(
    logits: Float[np.ndarray, "n"],
    groups: Sequence[str],
    first: str,
    k: int,
    shuffle: Shuffle | None = None,
    second: str | None = None,
) -> Metric:
    """Return the share of one group's images among the first k, less that of the others' images.

    Group sizes need not be equal: each share is of the group's own images. See :func:`logit_gap`.
    """
    return _gap(found_at(_finite(logits), k), groups, first, shuffle, second)


def max_skew_at_k(
    logits: Float[np.ndarray, "n"],
    groups: Sequence[str],
    k: int,
    wanted: Mapping[str, float] | None = None,
    shuffle: Shuffle | None = None,
) -> Metric:
    """Return the largest ln(share of a group among the first k / the share that is wanted).

    Without identities, ties at the cut and with two groups, what is expected is exact (of a
    hypergeometric count); else it is that of the permutations.

    Parameters
    ----------
    logits, groups, shuffle
        See :func:`logit_gap`.
    k : int
        1 to n.
    wanted : mapping of str to float, optional
        Share of each group; by default as many as there are among the images.
    """
    names, codes = _coded(groups, _finite(logits))
    shares = _shares(names, codes, wanted)
    found = found_at(logits, k)
    value = max_skew(np.bincount(codes, found, len(names)), shares)
    is_whole = bool(((found == 0) | (found == 1)).all())
    if len(names) == 2 and is_whole and (shuffle is None or shuffle.identities is None):
        return Metric(value, *chance_max_skew(codes, k, shares))
    shuffled = (shuffle or Shuffle()).of(codes)
    null = [max_skew(np.bincount(one, found, len(names)), shares) for one in shuffled]
    return _metric(value, np.array(null))


def count_skew(a: int, b: int, smoothing: float = 1) -> float:
    """Return ln((a + smoothing) / (b + smoothing)), the skew between two counts."""
    if a < 0 or b < 0 or a + smoothing <= 0 or b + smoothing <= 0:
        raise UserError(f"The skew of {a} against {b} is not finite: smooth the counts, by 1 say.")
    return log((a + smoothing) / (b + smoothing))


def ndkl(
    logits: Float[np.ndarray, "n"],
    groups: Sequence[str],
    k: int | None = None,
    wanted: Mapping[str, float] | None = None,
    base: Literal["nats", "bits"] = "nats",
    shuffle: Shuffle | None = None,
) -> Metric:
    """Return the normalised discounted KL divergence of a ranking (Geyik et al. 2019).

    The mean over i = 1 … k, with weights 1 / log2(i + 1), of the divergence of the shares of groups
    among the first i from those wanted. A prefix that ends within a tie has the shares that are
    expected of it under random order; so the divergence is at most the mean over all orders, and
    the same in the values under no bias, which tie in the same places.

    Parameters
    ----------
    logits, groups, shuffle
        See :func:`logit_gap`.
    k : int, optional
        How deep; all images by default.
    wanted : mapping of str to float, optional
        Share of each group; by default as many as there are among the images.
    base : "nats" or "bits"
        Unit.
    """
    names, codes = _coded(groups, _finite(logits))
    shares = _shares(names, codes, wanted)
    order = np.argsort(-logits, kind="stable")
    ties = runs_of_ties(logits[order])
    unit = 1.0 if base == "nats" else log(2)
    depth = len(logits) if k is None else checked_k(k, len(logits))

    def of(labels: Int[np.ndarray, "n"]) -> float:
        return divergence(labels[order], ties, shares, depth) / unit

    return _metric(of(codes), np.array([of(one) for one in (shuffle or Shuffle()).of(codes)]))


def _gap(
    values: Float[np.ndarray, "n"],
    groups: Sequence[str],
    first: str,
    shuffle: Shuffle | None,
    second: str | None,
) -> Metric:
    names, codes = _coded(groups, _finite(values))
    for name in (first, second):
        if name not in (*names, None):
            raise UserError(f"There is no group {name!r:.60}: choose from {', '.join(names)}.")
    if first == second:
        raise UserError(f"The group {first!r:.60} has no gap to itself: name another.")

    def of(labels: Int[np.ndarray, "n"]) -> float:
        is_first = labels == names.index(first)
        others = ~is_first if second is None else labels == names.index(second)
        return float(values[is_first].mean() - values[others].mean())

    metric = _metric(of(codes), np.array([of(one) for one in (shuffle or Shuffle()).of(codes)]))
    # Labels that are permuted one by one leave no gap on average; people differ in their images.
    is_exact = shuffle is None or shuffle.identities is None
    return Metric(metric.value, 0.0, metric.band) if is_exact else metric


def _finite(logits: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    n_strange = int((~np.isfinite(logits)).sum())
    if n_strange:
        raise UserError(f"{n_strange} of {len(logits)} logits are not finite: mend the vectors.")
    return logits


def _coded(
    groups: Sequence[str], logits: Float[np.ndarray, "n"]
) -> tuple[list[str], Int[np.ndarray, "n"]]:
    n = len(logits)
    if len(groups) != n:
        raise UserError(f"There are {len(groups)} groups for {n} logits: give one for each image.")
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise UserError("All images are of one group: a gap needs two.")
    return names.tolist(), codes


def _shares(
    names: list[str], codes: Int[np.ndarray, "n"], wanted: Mapping[str, float] | None
) -> Float[np.ndarray, "n_groups"]:
    if wanted is None:
        return np.bincount(codes) / len(codes)
    shares = np.array([wanted.get(name, 0.0) for name in names], dtype=float)
    if (shares <= 0).any() or abs(sum(wanted.values()) - 1) > 1e-6:
        raise UserError(f"The wanted shares must be above 0 for {', '.join(names)} and sum to 1.")
    return shares


def _metric(value: float, null: Float[np.ndarray, "m"]) -> Metric:
    low, high = np.quantile(null, [0.025, 0.975])
    return Metric(value, float(null.mean()), (float(low), float(high)))
