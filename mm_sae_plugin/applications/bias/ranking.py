"""What a ranking finds of each group: counts at a cut, skews, divergence at every depth."""

import numpy as np
from jaxtyping import Float, Int

from mm_sae_plugin.errors import UserError


def found_at(logits: Float[np.ndarray, "n"], k: int) -> Float[np.ndarray, "n"]:
    """Return the probability of each image to be among the first k, under random order of ties.

    Raises
    ------
    UserError
        If k is not 1 to n.
    """
    cut = np.sort(logits)[-checked_k(k, len(logits))]
    above, tied = logits > cut, logits == cut
    return above + tied * ((k - above.sum()) / tied.sum())


def checked_k(k: int, n: int) -> int:
    """Refuse to look for more images than there are, or for none."""
    if not 1 <= k <= n:
        raise UserError(f"k is {k}, but there are {n} images: choose 1 to {n}.")
    return k


def max_skew(counts: Float[np.ndarray, "g"], shares: Float[np.ndarray, "g"]) -> float:
    """Return the largest ln(share found / share wanted) of the groups of which any is found.

    Parameters
    ----------
    counts : float
        Images of each group that are found; not whole where images tie.
    shares : float
        Of each group, as wanted.
    """
    found = counts > 0
    return float(np.log(counts[found] / counts.sum() / shares[found]).max())


def chance_max_skew(
    codes: Int[np.ndarray, "n"], k: int, shares: Float[np.ndarray, "2"]
) -> tuple[float, tuple[float, float]]:
    """Return mean and middle 95% of the largest skew of two groups if k images are found by chance.

    Parameters
    ----------
    codes : int
        0 or 1, the group of every image.
    k : int
        How many are found.
    shares : float
        Of either group, as wanted.
    """
    from scipy.stats import hypergeom

    n, n_second = len(codes), int(codes.sum())
    counts = np.arange(max(0, k - (n - n_second)), min(k, n_second) + 1)
    p = hypergeom.pmf(counts, n, n_second, k)
    skews = np.array([max_skew(np.array([k - one, one], dtype=float), shares) for one in counts])
    order = np.argsort(skews)
    below = np.cumsum(p[order])
    # The last sum may fall short of 1 by a rounding error.
    low, high = (skews[order][min(np.searchsorted(below, q), len(p) - 1)] for q in (0.025, 0.975))
    return float(p @ skews), (float(low), float(high))


def runs_of_ties(ordered: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n_runs"]:
    """Return where each run of equal values starts, of logits in falling order."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def divergence(
    ordered: Int[np.ndarray, "n"],
    ties: Int[np.ndarray, "n_runs"],
    shares: Float[np.ndarray, "g"],
    depth: int,
) -> float:
    """Return the discounted KL divergence of a ranking in nats, normalised by its weights.

    Parameters
    ----------
    ordered : int
        Number of the group of every image, in falling order of logits.
    ties : int
        Where each run of images that tie starts.
    shares : float
        Of each group, as wanted.
    depth : int
        How many of the first images count.
    """
    n_tied = np.diff(np.append(ties, len(ordered)))
    ranks = np.arange(1, depth + 1)
    of_prefix = np.zeros(depth)
    for code, wanted in enumerate(shares):
        member = np.add.reduceat((ordered == code).astype(float), ties) / n_tied
        share = np.cumsum(np.repeat(member, n_tied))[:depth] / ranks
        some = share > 0
        of_prefix[some] += share[some] * np.log(share[some] / wanted)
    return float(np.average(of_prefix, weights=1 / np.log2(ranks + 1)))
