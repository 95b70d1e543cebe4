"""Intervals over images: the same resamples for every edit, so that differences are paired."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Estimate:
    """A value with its percentile interval."""

    value: float | None
    """None where it cannot be computed."""
    low: float | None
    """Low end; None where there is no value."""
    high: float | None
    """High end; None where there is no value."""

    @classmethod
    def of(cls, drawn: Float[np.ndarray, "n_resamples"], confidence: float) -> Estimate:
        """Read an estimate off its resamples.

        Parameters
        ----------
        drawn : float
            The value of the sample itself, then of each resample; those that are not finite (no
            image of a resample shows a factor, say) are left out.
        confidence : float
            Between 0 and 1.
        """
        known = drawn[1:][np.isfinite(drawn[1:])]
        if not isfinite(drawn[0]) or not len(known):
            return cls(None, None, None)
        tail = (1 - confidence) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return cls(float(drawn[0]), float(low), float(high))

    def record(self) -> dict[str, float | None]:
        """Return it as plain JSON, to six digits: nothing here is known to more."""
        return {"value": rounded(self.value), "low": rounded(self.low), "high": rounded(self.high)}


@dataclass(frozen=True)
class Resamples:
    """How often each image, and each random set, is drawn in each resample."""

    images: Float[np.ndarray, "n_rows n_images"]
    """float32: the first row is the sample itself, once each."""
    sets: Float[np.ndarray, "n_rows n_sets"]
    """float64: shares, of the random sets; the first row is the same for all."""
    confidence: float
    """Of the intervals."""

    @classmethod
    def draw(
        cls, n_images: int, n_sets: int, n_resamples: int, confidence: float, seed: int
    ) -> Resamples:
        """Draw images, and random sets beside them, with replacement."""
        rng = np.random.default_rng(seed)
        images = rng.multinomial(n_images, np.full(n_images, 1 / n_images), n_resamples)
        sets = rng.multinomial(n_sets, np.full(n_sets, 1 / n_sets), n_resamples)
        return cls(
            np.concatenate([np.ones((1, n_images)), images]).astype(np.float32),
            np.concatenate([np.ones((1, n_sets)), sets]) / n_sets,
            confidence,
        )

    def estimate(self, drawn: Float[np.ndarray, "n_rows"]) -> Estimate:
        """Read an estimate off the value of each row."""
        return Estimate.of(drawn, self.confidence)


def rounded(value: float | None) -> float | None:
    """Return a number to six significant digits."""
    return None if value is None else float(f"{value:.6g}")
