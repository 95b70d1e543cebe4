"""A number for every feature, and how far it can be off.

Images are dealt into folds. The number is taken again with one fold left out at a time
(delete-a-group jackknife; Wolter 2007, *Introduction to Variance Estimation*, §4.2), so that all
captions of an image leave together. A mean over features is taken again in the same way, since the
same images speak for many features.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """One measure of every feature."""

    values: Float[np.ndarray, "n_features"]
    """float64; NaN where the feature is not active on enough rows."""
    without_fold: Float[np.ndarray, "n_folds n_features"]
    """The same with each fold left out; NaN where then too few rows are left."""
    n_active: Int[np.ndarray, "n_features"]
    """Rows that it rests on."""
    bounds: tuple[float, float]
    """Least and greatest value that there can be."""

    def intervals(self, confidence: float) -> Float[np.ndarray, "n_features 2"]:
        """Low and high end for every feature; NaN where one fold holds all that it rests on."""
        return _ends(self.values, self.without_fold, confidence, self.bounds)

    def mean(self, chosen: Bool[np.ndarray, "n_features"], confidence: float) -> Interval:
        """Mean over the chosen features that have a value; NaN if there are none."""
        chosen = chosen & ~np.isnan(self.values)
        if not chosen.any():
            return Interval(np.nan, np.nan, np.nan)
        means = self.means_without_fold(chosen)
        return mean_interval(self.values[chosen].mean(), means, confidence, self.bounds)

    def means_without_fold(
        self, chosen: Bool[np.ndarray, "n_features"]
    ) -> Float[np.ndarray, "n_folds"]:
        """Mean over the chosen features that have a value, with each fold left out."""
        left = self.without_fold[:, chosen & ~np.isnan(self.values)]
        known = ~np.isnan(left)
        n_known = known.sum(1)
        sums = np.where(known, left, 0.0).sum(1)
        return np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)


def mean_interval(
    value: float,
    without_fold: Float[np.ndarray, "n_folds"],
    confidence: float,
    bounds: tuple[float, float],
) -> Interval:
    """Interval of one number from what it is with each fold left out."""
    ends = _ends(np.array([value]), without_fold[:, None], confidence, bounds)[0]
    return Interval(float(value), float(ends[0]), float(ends[1]))


def _ends(
    values: Float[np.ndarray, "n"],
    without_fold: Float[np.ndarray, "n_folds n"],
    confidence: float,
    bounds: tuple[float, float],
) -> Float[np.ndarray, "n 2"]:
    from scipy.stats import t

    n_folds = len(without_fold)
    variance = np.var(without_fold, axis=0) * (n_folds - 1)
    reach = np.sqrt(variance) * t.ppf(0.5 + confidence / 2, n_folds - 1)
    return np.stack([values - reach, values + reach], axis=1).clip(*bounds)
