"""Intervals over images."""

import numpy as np
import pytest

from mm_sae_plugin.applications.causal.resampling import Estimate, Resamples


def test_the_first_row_is_the_sample_itself():
    resamples = Resamples.draw(50, 20, 500, 0.95, seed=0)
    assert resamples.images.shape == (501, 50) and resamples.sets.shape == (501, 20)
    assert (resamples.images[0] == 1).all() and np.allclose(resamples.sets[0], 1 / 20)
    assert (resamples.images.sum(1) == 50).all() and np.allclose(resamples.sets.sum(1), 1)
    again = Resamples.draw(50, 20, 500, 0.95, seed=0)
    assert (again.images == resamples.images).all()
    assert (Resamples.draw(50, 20, 500, 0.95, seed=1).images != resamples.images).any()


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(3).normal(2.0, 1.5, 400)
    resamples = Resamples.draw(400, 20, 4_000, 0.95, seed=0)
    found = resamples.estimate(resamples.images @ values / 400)
    reach = 1.96 * values.std() / 400**0.5
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - reach, abs=0.1 * reach)
    assert found.high == pytest.approx(values.mean() + reach, abs=0.1 * reach)


def test_what_is_unknown_has_no_number():
    assert Estimate.of(np.array([np.nan, 1.0, 2.0]), 0.95) == Estimate(None, None, None)
    assert Estimate.of(np.array([1.0, np.nan, np.nan]), 0.95) == Estimate(None, None, None)
    # Resamples that know nothing are left out.
    assert Estimate.of(np.array([1.0, np.nan, 1.0]), 0.95) == Estimate(1.0, 1.0, 1.0)
