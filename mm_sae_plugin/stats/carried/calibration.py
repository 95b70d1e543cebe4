"""From counts of readings to the probability that a latent fires where it is read so."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.stats.carried.pooling import rising_levels


@dataclass(frozen=True)
class Calibrated:
    """What a side's reading says of a latent's firing."""

    above: Float[np.ndarray, "n_features bins"]
    """How far the probability that a bin stands for lies above its mean over pairs."""
    variance: Float[np.ndarray, "n_features"]
    """Variance of the probability that is read: what is explained of the firing's own variance."""
    raised: Float[np.ndarray, "3 n_features"]
    """Means over pairs of the first, second and third power of `above`, 0 where it is below 0."""


def calibrate(
    fires: Float[np.ndarray, "n_features bins"], silent: Float[np.ndarray, "n_features bins"]
) -> Calibrated:
    """Fit the probability of firing as a rising function of the reading (isotonic regression).

    Parameters
    ----------
    fires, silent : float64
        Counts of pairs on which the latent fires, and does not, by ascending bin of the reading.
    """
    counts = fires + silent
    n_rows = counts.sum(-1, keepdims=True).clip(1)
    above = rising_levels(fires, counts) - fires.sum(-1, keepdims=True) / n_rows
    weights = counts / n_rows
    raised = np.stack([(weights * above.clip(0) ** power).sum(-1) for power in (1, 2, 3)])
    return Calibrated(above, (weights * above**2).sum(-1), raised)


def correlation_with_bins(
    fires: Float[np.ndarray, "n_features bins"], silent: Float[np.ndarray, "n_features bins"]
) -> Float[np.ndarray, "n_features"]:
    """Correlation of the firing with the number of the reading's bin; 0 where either is constant.

    The readers were fitted on other images, so under the null (the other side knows nothing of the
    latent) it scatters about 0; up to √2 times as far as that of independent variables, as the two
    halves that read each other make the same error.
    """
    bins = np.arange(fires.shape[-1])
    counts = fires + silent
    n_rows = counts.sum(-1).clip(1)
    rate = fires.sum(-1) / n_rows
    mean = counts @ bins / n_rows
    variance = counts @ bins**2 / n_rows - mean**2
    covariance = fires @ bins / n_rows - rate * mean
    spread = np.sqrt(variance.clip(0) * rate * (1 - rate))
    return np.divide(covariance, spread, out=np.zeros_like(rate), where=spread > 0)
