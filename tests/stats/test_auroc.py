"""AUROC and its interval."""

import warnings

import numpy as np
import pytest

from mm_sae_plugin.stats.auroc import auroc


def test_equals_counting_pairs_with_ties():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 6, 17) / 6, rng.integers(0, 5, 23) / 6
    wins = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
    assert auroc(positive, negative).value == pytest.approx(wins)
    assert auroc(negative, positive).value == pytest.approx(1 - wins)


def test_scores_that_are_all_alike_are_chance():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert auroc(np.ones(4), np.ones(3)).value == 0.5
        assert auroc(np.ones(1), np.ones(1)).value == 0.5


def test_perfect_separation_is_not_certainty():
    few, many = auroc(np.ones(5), np.zeros(5)), auroc(np.ones(50), np.zeros(50))
    assert few.value == many.value == many.high == 1
    assert few.low is not None and many.low is not None
    assert 0.5 < few.low < 0.85 < many.low < 1


def test_an_empty_side_has_no_value():
    result = auroc(np.ones(3), np.zeros(0))
    assert result.value is None and result.low is None and result.n_positive == 3


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_interval_contains_the_truth(shift):
    """Two normals one standard deviation wide: the area is Φ(shift / √2)."""
    from scipy.stats import norm

    truth = norm.cdf(shift / 2**0.5)
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        result = auroc(rng.normal(shift, 1, 20), rng.normal(0, 1, 25))
        assert result.low is not None and result.high is not None
        hits += result.low <= truth <= result.high
    assert 0.93 <= hits / 2000 <= 0.985, hits
