"""From what the two sides' readings explain to the ratio of the rates at which they show a concept.

Let a concept be there with probability b, be shown on the latent's own side at rate o and on the
other at rate x, independently, and let the latent fire where its own side shows it: on v = b·o of
all pairs. Three things can be measured, and follow from b, o and x:

- *Carry*: the squared correlation of "own shows" and "other shows" is
  c = o·x·(1 − b)² / ((1 − v)(1 − b·x)), about o·x where b is small. It is what the other side's
  reading explains of the firing, as a share of what the own side's does.
- *Level*: where the other side shows the concept, the latent fires with probability o. The level of
  the reading is its mean over pairs, weighted by the square of how far it is above v.
- *Reach*: the share of pairs on which the reading is raised, taken as that of a variable with two
  values and the same second and third moment, is b·x.

So x / o is had twice: with o from the level and x from the carry, and as reach / v. The two
estimates' geometric mean is taken, which is steadier than either where a reading has several
levels, as that of a latent of several values has; half of what they differ by is part of the
interval. Neither rate exceeds 1, which bounds the ratio from both sides. A reading that hardly
rises where the latent fires would need a concept that is nearly always there: b is taken to be at
most `_MOST_COMMON`, so that the level is at least v / b, and a weak reading of a common latent
counts as little carried instead of as carried by everything.
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

    carry: Float[np.ndarray, "*rest"]
    """The other side's rate if the own side always showed the concept, 0 to 1: about the product
    of the two rates, and a lower bound of either."""
    ratio: Float[np.ndarray, "*rest"]
    """Other rate over own rate, above 0."""
    disagreement: Float[np.ndarray, "*rest"]
    """Half of the distance between the logarithms of the two estimates of the ratio, at least 0."""


def rate_ratio(rate: Float[np.ndarray, "*rest"], own: Calibrated, other: Calibrated) -> RateRatio:
    """Compare the rates at which two sides show what a latent fires for.

    Parameters
    ----------
    rate : float64
        Share of pairs on which the latent fires on its own side, 0 to 1.
    own, other : Calibrated
        Readings of the firing from either side.
    """
    explained = (other.variance / own.variance.clip(_TINY)).clip(_TINY, 1)
    _, second, third = other.raised
    above = third / second.clip(_TINY)
    lowest = least_own_rate(rate)
    from_carry = ratio_from(explained, rate, (above + rate).clip(lowest, 1))
    from_reach = (second / (above**2).clip(_TINY) / rate.clip(_TINY)).clip(_TINY)
    least = ratio_from(explained, rate, np.ones_like(rate))
    # The other side always shows it, or the own side as rarely as can be.
    most = np.minimum(
        1 / (explained * (1 - rate) + rate).clip(_TINY), ratio_from(explained, rate, lowest)
    )
    most = np.maximum(most, least)
    estimates = [np.log(ratio.clip(least, most)) for ratio in (from_carry, from_reach)]
    return RateRatio(
        carry=least,
        ratio=np.exp((estimates[0] + estimates[1]) / 2),
        disagreement=np.abs(estimates[0] - estimates[1]) / 2,
    )


def ratio_from(
    explained: Float[np.ndarray, "*rest"],
    rate: Float[np.ndarray, "*rest"],
    own_rate: Float[np.ndarray, "*rest"],
) -> Float[np.ndarray, "*rest"]:
    """Solve the carry c for x / o, given o and v."""
    base = rate / own_rate.clip(_TINY)
    product = explained * (1 - rate)
    other_rate = product / (own_rate * (1 - base) ** 2 + product * base).clip(_TINY)
    return (other_rate / own_rate.clip(_TINY)).clip(_TINY)


def least_own_rate(rate: Float[np.ndarray, "*rest"]) -> Float[np.ndarray, "*rest"]:
    """Least rate on the own side that the firing rate allows."""
    return (rate / _MOST_COMMON).clip(_TINY, 1)
