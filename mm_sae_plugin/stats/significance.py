"""Is it more than chance would give: tails of counts, and many tests at once."""

from jaxtyping import Bool, Float
from torch import Tensor


def binomial_tail(count: int, n: int, p: float) -> float:
    """Return the probability of ``count`` or more successes among ``n``, each of probability ``p``.

    Parameters
    ----------
    count : int
        0 to ``n``.
    n : int
        Number of independent trials.
    p : float
        Probability of one success, 0 to 1.
    """
    from scipy.stats import binom

    return float(binom.sf(count - 1, n, p))


def bonferroni(p_values: Float[Tensor, "tests"], level: float = 0.05) -> Bool[Tensor, "tests"]:
    """Which tests still speak when all are looked at together.

    Among many latents some are extreme by chance. At ``level / tests`` each, the probability that
    chance alone makes even one of them speak is at most ``level``.
    """
    return p_values < level / max(len(p_values), 1)
