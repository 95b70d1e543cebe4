"""The embedding association test."""

from itertools import combinations

import numpy as np
import pytest

from mm_sae_plugin.applications.bias.effect_size import association, effect_size
from mm_sae_plugin.errors import UserError


def test_effect_size_of_known_values():
    found = effect_size(np.array([1.0, 2.0]), np.array([0.0, -1.0]))
    # The deviations of -1, 0, 1, 2 square to 5, over 3.
    assert found.d == pytest.approx(2 / np.sqrt(5 / 3))
    assert found.p == found.floor == 1 / 6
    assert found.is_exact
    turned = effect_size(np.array([0.0, -1.0]), np.array([1.0, 2.0]))
    assert (turned.d, turned.p) == (-found.d, 1)


def test_exact_p_is_the_share_of_splits():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 1, 6), rng.normal(0, 1, 5)
    every = np.concatenate([first, second])
    means = []
    for members in combinations(range(11), 6):
        rest = [i for i in range(11) if i not in members]
        means.append(every[list(members)].mean() - every[rest].mean())
    observed = first.mean() - second.mean()
    assert effect_size(first, second).p == np.mean(np.array(means) >= observed - 1e-12)


def test_splits_of_many_are_drawn():
    rng = np.random.default_rng(0)
    found = effect_size(rng.normal(2, 1, 30), rng.normal(0, 1, 30))
    assert not found.is_exact
    assert found.p == found.floor == 1 / 20_001
    same = effect_size(rng.normal(size=30), rng.normal(size=30))
    assert 0.01 < same.p < 0.99


def test_effect_size_has_neither_unit_nor_offset():
    rng = np.random.default_rng(1)
    first, second = rng.normal(1, 1, 7), rng.normal(0, 1, 7)
    plain, other = effect_size(first, second), effect_size(3 * first + 8, 3 * second + 8)
    assert other.d == pytest.approx(plain.d)
    assert other.p == plain.p


def test_association_is_a_difference_of_mean_cosines():
    vectors = np.array([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    one = np.array([[3.0, 0.0], [1.0, 1.0]])
    other = np.array([[0.0, 0.5]])
    half = np.sqrt(0.5)
    expected = [(1 + half) / 2 - 0, half / 2 - 1, (half + 1) / 2 - half]
    assert association(vectors, one, other) == pytest.approx(expected)


def test_no_effect_without_a_spread():
    with pytest.raises(UserError, match="one is empty"):
        effect_size(np.array([1.0]), np.zeros(0))
    with pytest.raises(UserError, match="associations are equal"):
        effect_size(np.full(3, 0.1), np.full(3, 0.1))
