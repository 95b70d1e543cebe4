"""Calibrated readings against direct computation."""

import numpy as np
import pytest

from mm_sae_plugin.stats.carried.calibration import calibrate, correlation_with_bins


def test_falling_levels_are_pooled():
    # Shares 0.1, 0.5, 0.3, 0.9: the middle two become 0.4.
    fires = np.array([1.0, 5, 3, 9])
    found = calibrate(fires[None], 10 - fires[None])
    levels, rate = np.array([0.1, 0.4, 0.4, 0.9]), 0.45
    assert found.variance == pytest.approx(((levels - rate) ** 2).mean())
    for power, moment in enumerate(found.raised, 1):
        assert moment == pytest.approx(((levels - rate).clip(0) ** power).mean())


def test_empty_bins_and_latents_count_for_nothing():
    fires, silent = np.array([[0.0, 2, 0, 8], [0, 0, 0, 0]]), np.array([[0.0, 8, 0, 2], [0] * 4])
    found = calibrate(fires, silent)
    assert found.variance == pytest.approx([0.09, 0])
    assert found.raised[0] == pytest.approx([0.15, 0])


def test_correlation_is_that_of_the_pairs():
    rng = np.random.default_rng(0)
    bins = rng.integers(0, 8, 400)
    fire = rng.random(400) < bins / 10
    counts = [np.bincount(bins[fire == f], minlength=8).astype(float)[None] for f in (True, False)]
    assert correlation_with_bins(*counts)[0] == pytest.approx(np.corrcoef(bins, fire)[0, 1])
    assert correlation_with_bins(np.zeros((1, 8)), counts[1])[0] == 0
