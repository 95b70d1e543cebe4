"""Area under the ROC curve, with an interval that stays sensible at perfect separation."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Auroc:
    """Probability that a positive scores above a negative, ties counting one half."""

    value: float | None
    """None when a side is empty."""
    low: float | None
    """Low end of the interval."""
    high: float | None
    """High end of the interval."""
    n_positive: int
    """Size of the positive side."""
    n_negative: int
    """Size of the negative side."""


def auroc(
    positive: Float[np.ndarray, "n_positive"],
    negative: Float[np.ndarray, "n_negative"],
    confidence: float = 0.95,
) -> Auroc:
    """Compute the AUROC of one score over two groups.

    The interval is Newcombe's (2006, "method 5"): the set of true areas θ that lie within z
    standard errors of the estimate, the standard error being that at θ. DeLong's and the
    bootstrap's have no width when the groups separate perfectly.
    """
    m, n = len(positive), len(negative)
    if m == 0 or n == 0:
        return Auroc(None, None, None, m, n)
    from scipy.stats import mannwhitneyu

    # Only U is wanted; the asymptotic method spends nothing on an exact p-value.
    value = float(mannwhitneyu(positive, negative, method="asymptotic").statistic / (m * n))
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return Auroc(value, _end(value, 0.0, m, n, z), _end(value, 1.0, m, n, z), m, n)


def _end(value: float, limit: float, m: int, n: int, z: float) -> float:
    """Bisect between the estimate and `limit` for the area that is z standard errors away."""
    inside, outside = value, limit
    for _ in range(60):
        middle = (inside + outside) / 2
        if abs(value - middle) <= z * _standard_error(middle, m, n):
            inside = middle
        else:
            outside = middle
    return inside


def _standard_error(theta: float, m: int, n: int) -> float:
    half = (m + n) / 2 - 1
    spread = 1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)
    return float(np.sqrt(theta * (1 - theta) * spread / (m * n)))
