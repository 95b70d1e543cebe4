"""The ratio of rates with its interval.

Two things are unknown: which images were sampled, and what isotonic regression makes of them. Where
readings are calibrated and weighed on the same pairs, chance rises look like true ones, and the
level (`rates`) comes out too high. Where they are weighed on pairs that they were not calibrated
on, chance rises weigh as much as true ones and lead nowhere, and it comes out too low. So the
logarithm of the ratio is estimated half way between the two, and may lie anywhere between them
with equal chance.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.stats.carried.calibration import Calibrated, calibrate
from mm_sae_plugin.stats.carried.groups import N_GROUPS
from mm_sae_plugin.stats.carried.rates import rate_ratio


@dataclass(frozen=True)
class RatioInterval:
    """Other rate over own rate, above 0: the estimate and the ends of its interval."""

    least: Float[np.ndarray, "n_features"]
    ratio: Float[np.ndarray, "n_features"]
    most: Float[np.ndarray, "n_features"]


def ratio_interval(
    own: Float[np.ndarray, "groups fires n_features bins"],
    other: Float[np.ndarray, "groups fires n_features bins"],
    confidence: float,
) -> RatioInterval:
    """Compare the two sides' rates, and say how far the ratio can be off.

    One group of images at a time is left out (delete-a-group jackknife), and the readings are
    calibrated anew on the rest; Student's t of as many groups less one.

    Parameters
    ----------
    own, other : float64
        Pairs by the bin of either side's reading, silent ones first and firing ones second.
    confidence : float
        Of the interval, between 0 and 1.
    """
    from scipy.stats import t

    all_own, all_other = own.sum(0), other.sum(0)
    left_out, fired, weighed = [], np.zeros(own.shape[2]), np.zeros(own.shape[2])
    for mine, theirs in zip(own, other, strict=True):
        rest, other_read = all_own - mine, _read(all_other - theirs)
        left_out.append(np.log(rate_ratio(_rate(rest), _read(rest), other_read).ratio))
        weights = other_read.above.clip(0) ** 2
        fired += (weights * theirs[1]).sum(-1)
        weighed += (weights * theirs.sum(0)).sum(-1)
    facts = _rate(all_own), _read(all_own), _read(all_other)
    seen = rate_ratio(*facts)
    held_out = rate_ratio(*facts, level=fired / weighed.clip(1e-12))

    middle = (np.log(seen.ratio) + np.log(held_out.ratio)) / 2
    sampling = np.var(left_out, axis=0) * (N_GROUPS - 1)
    # Variance of what may lie anywhere between two ends.
    calibration = (np.log(seen.ratio) - np.log(held_out.ratio)) ** 2 / 12
    reach = np.sqrt(sampling + calibration) * t.ppf(0.5 + confidence / 2, N_GROUPS - 1)
    reach = reach + seen.disagreement
    return RatioInterval(np.exp(middle - reach), np.exp(middle), np.exp(middle + reach))


def _rate(own: Float[np.ndarray, "fires n_features bins"]) -> Float[np.ndarray, "n_features"]:
    return own[1].sum(-1) / own.sum((0, 2)).clip(1)


def _read(counts: Float[np.ndarray, "fires n_features bins"]) -> Calibrated:
    return calibrate(counts[1], counts[0])
