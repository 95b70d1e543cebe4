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
) -> Metric:
    """Return the mean logit of one group less that of the images of all others.

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

    Raises
    ------
    UserError
        If there are other than ``n`` groups, one only, or none of that name.
    """
    return _gap(logits, groups, first, shuffle)


def share_gap(
    logits: Float[np.ndarray, "n"],
    groups: Sequence[str],
    first: str,
    k: int,
    shuffle: Shuffle | None = None,
) -> Metric:
    """Return the share of one group's images among the first k, less that of all others' images.

    Group sizes need not be equal: each share is of the group's own images. See :func:`logit_gap`.
    """
    return _gap(found_at(logits, k), groups, first, shuffle)


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
    names, codes = _coded(groups, len(logits))
    shares = _shares(names, codes, wanted)
    found = found_at(logits, k)
    value = _max_skew(np.bincount(codes, found, len(names)), shares)
    is_whole = bool(((found == 0) | (found == 1)).all())
    if len(names) == 2 and is_whole and (shuffle is None or shuffle.identities is None):
        return Metric(value, *_hypergeometric_skew(codes, k, shares))
    shuffled = (shuffle or Shuffle()).of(codes)
    null = [_max_skew(np.bincount(one, found, len(names)), shares) for one in shuffled]
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
    names, codes = _coded(groups, len(logits))
    shares = _shares(names, codes, wanted)
    order = np.argsort(-logits, kind="stable")
    ties = _runs(logits[order])
    unit = 1.0 if base == "nats" else log(2)
    depth = len(logits) if k is None else _checked_k(k, len(logits))

    def of(labels: Int[np.ndarray, "n"]) -> float:
        return _divergence(labels[order], ties, shares, depth) / unit

    return _metric(of(codes), np.array([of(one) for one in (shuffle or Shuffle()).of(codes)]))


def found_at(logits: Float[np.ndarray, "n"], k: int) -> Float[np.ndarray, "n"]:
    """Return the probability of each image to be among the first k, under random order of ties."""
    cut = np.sort(logits)[-_checked_k(k, len(logits))]
    above, tied = logits > cut, logits == cut
    return above + tied * ((k - above.sum()) / tied.sum())


def _gap(
    values: Float[np.ndarray, "n"], groups: Sequence[str], first: str, shuffle: Shuffle | None
) -> Metric:
    names, codes = _coded(groups, len(values))
    if first not in names:
        raise UserError(f"There is no group {first!r:.60}: choose from {', '.join(names)}.")
    labels = codes == names.index(first)
    shuffled = (shuffle or Shuffle()).of(labels)
    null = [values[one].mean() - values[~one].mean() for one in shuffled]
    metric = _metric(float(values[labels].mean() - values[~labels].mean()), np.array(null))
    # Labels that are permuted one by one leave no gap on average; people differ in their images.
    is_exact = shuffle is None or shuffle.identities is None
    return Metric(metric.value, 0.0, metric.band) if is_exact else metric


def _coded(groups: Sequence[str], n: int) -> tuple[list[str], Int[np.ndarray, "n"]]:
    if len(groups) != n:
        raise UserError(f"There are {len(groups)} groups for {n} logits: give one for each image.")
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise UserError("All images are of one group: a gap needs two.")
    return names.tolist(), codes


def _checked_k(k: int, n: int) -> int:
    if not 1 <= k <= n:
        raise UserError(f"k is {k}, but there are {n} images: choose 1 to {n}.")
    return k


def _shares(
    names: list[str], codes: Int[np.ndarray, "n"], wanted: Mapping[str, float] | None
) -> Float[np.ndarray, "n_groups"]:
    if wanted is None:
        return np.bincount(codes) / len(codes)
    shares = np.array([wanted.get(name, 0.0) for name in names], dtype=float)
    if (shares <= 0).any() or abs(sum(wanted.values()) - 1) > 1e-6:
        raise UserError(f"The wanted shares must be above 0 for {', '.join(names)} and sum to 1.")
    return shares


def _max_skew(counts: Float[np.ndarray, "g"], shares: Float[np.ndarray, "g"]) -> float:
    found = counts > 0
    return float(np.log(counts[found] / counts.sum() / shares[found]).max())


def _hypergeometric_skew(
    codes: Int[np.ndarray, "n"], k: int, shares: Float[np.ndarray, "2"]
) -> tuple[float, tuple[float, float]]:
    """Mean and band of the largest skew over the number of the second group among the first k."""
    from scipy.stats import hypergeom

    n, n_second = len(codes), int(codes.sum())
    counts = np.arange(max(0, k - (n - n_second)), min(k, n_second) + 1)
    p = hypergeom.pmf(counts, n, n_second, k)
    skews = np.array([_max_skew(np.array([k - one, one], dtype=float), shares) for one in counts])
    order = np.argsort(skews)
    below = np.cumsum(p[order])
    # The last sum may fall short of 1 by a rounding error.
    low, high = (skews[order][min(np.searchsorted(below, q), len(p) - 1)] for q in (0.025, 0.975))
    return float(p @ skews), (float(low), float(high))


def _runs(ordered: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n_runs"]:
    """Where each run of equal values starts."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _divergence(
    ordered: Int[np.ndarray, "n"],
    ties: Int[np.ndarray, "n_runs"],
    shares: Float[np.ndarray, "g"],
    depth: int,
) -> float:
    n_tied = np.diff(np.append(ties, len(ordered)))
    ranks = np.arange(1, depth + 1)
    divergence = np.zeros(depth)
    for code, wanted in enumerate(shares):
        member = np.add.reduceat((ordered == code).astype(float), ties) / n_tied
        share = np.cumsum(np.repeat(member, n_tied))[:depth] / ranks
        some = share > 0
        divergence[some] += share[some] * np.log(share[some] / wanted)
    return float(np.average(divergence, weights=1 / np.log2(ranks + 1)))


def _metric(value: float, null: Float[np.ndarray, "m"]) -> Metric:
    low, high = np.quantile(null, [0.025, 0.975])
    return Metric(value, float(null.mean()), (float(low), float(high)))
