"""How far the ratio of rates can be off, as far as the sample of images goes."""

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.stats.carried.calibration import calibrate
from mm_sae_plugin.stats.carried.groups import N_GROUPS
from mm_sae_plugin.stats.carried.rates import rate_ratio


def log_reach(
    own: Float[np.ndarray, "groups fires n_features bins"],
    other: Float[np.ndarray, "groups fires n_features bins"],
    confidence: float,
) -> Float[np.ndarray, "n_features"]:
    """Half width of the interval of the ratio's logarithm.

    One group of images at a time is left out (delete-a-group jackknife), and the readings are
    calibrated anew; Student's t of as many groups less one.

    Parameters
    ----------
    own, other : float64
        Pairs by the bin of either side's reading, silent ones first and firing ones second.
    confidence : float
        Of the interval, between 0 and 1.
    """
    from scipy.stats import t

    all_own, all_other = own.sum(0), other.sum(0)
    left_out = []
    for mine, theirs in zip(all_own - own, all_other - other, strict=True):
        rate = mine[1].sum(-1) / mine.sum((0, 2)).clip(1)
        readings = calibrate(mine[1], mine[0]), calibrate(theirs[1], theirs[0])
        left_out.append(np.log(rate_ratio(rate, *readings).ratio))
    error = np.std(left_out, axis=0) * (N_GROUPS - 1) ** 0.5
    return error * t.ppf(0.5 + confidence / 2, N_GROUPS - 1)
