"""Is it more than chance would give: tails of counts, and many tests at once."""

import torch
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


def q_values(p_values: Float[Tensor, "tests"]) -> Float[Tensor, "tests"]:
    """Adjust p-values so that calling all below a level keeps the false discovery rate there.

    Benjamini and Hochberg (1995): of the tests that speak, at most that share speaks by chance on
    average, if the tests are independent or depend on each other positively. It lets more speak
    than :func:`bonferroni`, which guards against a single one.

    Parameters
    ----------
    p_values : float64
        0 to 1; NaN for what was not tested, which does not count among the tests.

    Returns
    -------
    float64, 0 to 1
        NaN where nothing was tested.
    """
    from scipy.stats import false_discovery_control

    adjusted, tested = torch.full_like(p_values, torch.nan), ~p_values.isnan()
    if tested.any():
        found = false_discovery_control(p_values[tested].numpy(), method="bh")
        adjusted[tested] = torch.from_numpy(found).to(p_values.dtype)
    return adjusted
