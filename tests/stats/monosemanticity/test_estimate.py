"""Intervals from what is left when a fold is taken away."""

import numpy as np
import pytest
from scipy import stats

from mm_sae_plugin.stats.monosemanticity.estimate import Estimate


def means(samples: np.ndarray, bounds=(-9.0, 9.0)) -> Estimate:
    """The mean of each column, every row a fold of its own."""
    n = len(samples)
    without = (samples.sum(0) - samples) / (n - 1)
    return Estimate(samples.mean(0), without, np.full(samples.shape[1], n), bounds)


def test_of_a_mean_it_is_students_interval():
    samples = np.random.default_rng(0).normal(size=(8, 3))
    expected = stats.t.interval(0.9, 7, samples.mean(0), stats.sem(samples, axis=0))
    np.testing.assert_allclose(means(samples).intervals(0.9), np.stack(expected, axis=1))


def test_a_mean_over_features_knows_that_they_share_the_images():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(10, 1))
    samples = shared + 0.01 * rng.normal(size=(10, 200))
    interval = means(samples).mean(np.ones(200, dtype=bool), 0.95)
    alone = stats.t.interval(0.95, 9, shared.mean(), stats.sem(shared[:, 0]))
    assert (interval.low, interval.high) == pytest.approx(alone, abs=0.01)


def test_only_what_has_a_value_counts():
    samples = np.random.default_rng(2).normal(size=(6, 3))
    estimate = means(samples)
    estimate.values[1] = np.nan
    estimate.without_fold[4, 0] = np.nan
    chosen = np.array([True, True, True])
    assert estimate.mean(chosen, 0.95).value == pytest.approx(estimate.values[[0, 2]].mean())
    left = estimate.means_without_fold(chosen)
    assert left[4] == pytest.approx(estimate.without_fold[4, 2])
    assert left[3] == pytest.approx(estimate.without_fold[3, [0, 2]].mean())
    assert np.isnan(estimate.intervals(0.95)[0]).all()
    assert np.isnan(estimate.mean(np.zeros(3, dtype=bool), 0.95).value)


def test_ends_stay_within_what_there_can_be():
    samples = np.random.default_rng(3).uniform(size=(4, 5))
    ends = means(samples, bounds=(0.0, 1.0)).intervals(0.9999)
    assert ends.min() == 0 and ends.max() == 1
