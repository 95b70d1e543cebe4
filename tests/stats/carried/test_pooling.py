"""Isotonic regression of many rows against SciPy's of one."""

import numpy as np
from scipy.optimize import isotonic_regression

from mm_sae_plugin.stats.carried.pooling import rising_levels


def test_levels_are_those_of_scipy():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 6, (50, 20)).astype(float)
    fires = rng.binomial(counts.astype(int), 0.4).astype(float)
    for found, fired, counted in zip(rising_levels(fires, counts), fires, counts, strict=True):
        filled = counted > 0
        expected = isotonic_regression(fired[filled] / counted[filled], weights=counted[filled])
        np.testing.assert_allclose(found[filled], expected.x, atol=1e-12)


def test_an_empty_bin_has_the_level_of_the_one_before_it():
    counts = np.array([[0.0, 4, 0, 5, 0], [0.0] * 5])
    fires = np.array([[0.0, 1, 0, 4, 0], [0.0] * 5])
    levels = [[0.25, 0.25, 0.25, 0.8, 0.8], [0.0] * 5]
    np.testing.assert_allclose(rising_levels(fires, counts), levels)
