"""From what the two sides' readings say to the ratio of the rates at which they show a concept.

Let a concept be there with probability b, be shown on the latent's own side at rate o and on the
other at rate x, independently, and let the latent fire where its own side shows it: on v = b·o of
all pairs. A perfect reading is then v everywhere on average, rises to 1 on the own side where that
shows the concept, and on the other side rises only to o where that shows it. Where the other side
shows nothing of the kind, or another value of the same factor, its reading falls below v. So of
how far readings rise above v (0 where they fall), the mean of the squares is v·(1 − v)² for the own
side and b·x·(o − v)² for the other. Two things are measured:

- *Level*: o, the mean of the other side's reading over pairs, weighted by that square.
- *Carry*: c, the ratio of the two means, c = (x / o)·((o − v) / (1 − v))² ≤ o·x. It is x where the
  own side always shows the concept: a lower bound of what the other side carries.

Together they give x / o = c·((1 − v) / (o − v))². It is computed with the own side's mean as it is
read, and with v·(1 − v)², as if it were read perfectly; the estimate is the geometric mean of the
two, and half of what they differ by is part of the interval. Neither rate exceeds 1, which bounds
the ratio from both sides. A reading that hardly rises above v would need a concept that is nearly
always there: b is taken to be at most `_MOST_COMMON`, so that o ≥ v / b, and a weak reading of a
common latent counts as little carried instead of as carried by everything.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.stats.carried.calibration import Calibrated

_MOST_COMMON = 2 / 3
_TINY = 1e-12


@dataclass(frozen=True)
class RateRatio:
    """How the two sides' rates compare."""

    carry: Float[np.ndarray, "n_features"]
    """The other side's rate if the own side always showed the concept, 0 to 1: a lower bound of the
    product of the two rates."""
    ratio: Float[np.ndarray, "n_features"]
    """Other rate over own rate, above 0."""
    disagreement: Float[np.ndarray, "n_features"]
    """Half of the distance between the logarithms of the two estimates of the ratio, at least 0."""


def rate_ratio(
    rate: Float[np.ndarray, "n_features"],
    own: Calibrated,
    other: Calibrated,
    *,
    level: Float[np.ndarray, "n_features"] | None = None,
) -> RateRatio:
    """Compare the rates at which two sides show what a latent fires for.

    Parameters
    ----------
    rate : float64
        Share of pairs on which the latent fires on its own side, 0 to 1.
    own, other : Calibrated
        Readings of the firing from either side.
    level : float64, optional
        As measured on other pairs than those that the reading was calibrated on; by default on
        the same.
    """
    perfect = rate * (1 - rate) ** 2
    _, own_rise, _ = own.raised
    _, rise, rise_cubed = other.raised
    same_pairs = rise_cubed / rise.clip(_TINY) + rate
    own_rate = (same_pairs if level is None else level).clip(least_own_rate(rate), 1)
    carry = (rise / own_rise.clip(_TINY)).clip(_TINY, 1)
    least, most = bounds(carry, rate)
    estimates = [
        np.log(ratio_from(of, rate, own_rate).clip(least, most))
        for of in (carry, rise / perfect.clip(_TINY))
    ]
    return RateRatio(
        carry=carry,
        ratio=np.exp((estimates[0] + estimates[1]) / 2),
        disagreement=np.abs(estimates[0] - estimates[1]) / 2,
    )


def bounds(
    carry: Float[np.ndarray, "n_features"], rate: Float[np.ndarray, "n_features"]
) -> tuple[Float[np.ndarray, "n_features"], Float[np.ndarray, "n_features"]]:
    """Least and most that x / o can be.

    It is least where the own side always shows the concept, and most where the other side always
    does, or where the concept is as common as can be.
    """
    total = 2 * rate + carry * (1 - rate) ** 2
    rarest = (total + np.sqrt((total**2 - 4 * rate**2).clip(0))) / 2
    most = ratio_from(carry, rate, np.maximum(rarest, least_own_rate(rate)).clip(_TINY, 1))
    return carry, np.maximum(most, carry)


def ratio_from(
    carry: Float[np.ndarray, "n_features"],
    rate: Float[np.ndarray, "n_features"],
    own_rate: Float[np.ndarray, "n_features"],
) -> Float[np.ndarray, "n_features"]:
    """Solve the carry for x / o, given o and v."""
    return (carry * ((1 - rate) / (own_rate - rate).clip(_TINY)) ** 2).clip(_TINY)


def least_own_rate(rate: Float[np.ndarray, "n_features"]) -> Float[np.ndarray, "n_features"]:
    """Least rate on the own side that the firing rate allows: that of the commonest concept."""
    return (rate / _MOST_COMMON).clip(_TINY, 1)
