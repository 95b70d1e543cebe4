"""Tails and many tests at once."""

from math import comb

import pytest
import torch

from mm_sae_plugin.stats.significance import binomial_tail, bonferroni, q_values


@pytest.mark.parametrize(("count", "n", "p"), [(3, 5, 0.2), (6, 6, 0.01), (40, 90, 0.3)])
def test_tail_is_the_sum_of_its_terms(count, n, p):
    terms = (comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(count, n + 1))
    assert binomial_tail(count, n, p) == pytest.approx(sum(terms), rel=1e-9)


def test_tail_at_its_ends():
    assert binomial_tail(0, 5, 0.3) == 1
    assert binomial_tail(1, 5, 0.0) == 0
    assert binomial_tail(5, 5, 1.0) == 1


def test_bonferroni_divides_the_level_among_the_tests():
    p_values = torch.tensor([0.012, 0.013, 0.04, 1.0], dtype=torch.float64)
    assert bonferroni(p_values).tolist() == [True, False, False, False]
    assert bonferroni(p_values, level=0.2).tolist() == [True, True, True, False]
    assert bonferroni(p_values[:1]).tolist() == [True]
    assert bonferroni(p_values[:0]).tolist() == []


def test_bonferroni_is_seldom_wrong_even_once():
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(4000, 50, generator=generator, dtype=torch.float64)
    wrong = sum(bool(bonferroni(p_values).any()) for p_values in chance)
    # 1 - (1 - 0.05 / 50) ** 50 is 4.9%; four standard errors of 4,000 tries are 1.4%.
    assert abs(wrong / 4000 - 0.049) < 0.014


def test_q_values_are_the_smallest_rate_at_which_a_test_speaks():
    p_values = torch.tensor([0.04, 0.001, 0.03, 0.9], dtype=torch.float64)
    # Sorted: 0.001 · 4/1, 0.03 · 4/2, 0.04 · 4/3, 0.9, and no larger than what follows.
    assert q_values(p_values).tolist() == pytest.approx([0.16 / 3, 0.004, 0.16 / 3, 0.9])


def test_what_was_not_tested_does_not_count():
    p_values = torch.tensor([0.04, float("nan"), 0.001], dtype=torch.float64)
    found = q_values(p_values)
    assert found[1].isnan() and found[[0, 2]].tolist() == pytest.approx([0.04, 0.002])
    assert q_values(p_values[1:2]).isnan().all() and q_values(p_values[:0]).tolist() == []


def test_false_discoveries_are_as_rare_as_promised():
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(600):
        chance = torch.rand(60, generator=generator, dtype=torch.float64)
        p_values = torch.cat([chance, chance[:20] * 1e-4])
        speaks = q_values(p_values) <= 0.1
        shares.append(float(speaks[:60].sum()) / max(float(speaks.sum()), 1))
    # Of 80 tests 60 are chance, so the rate is 0.1 · 60 / 80; four standard errors are about 1%.
    assert abs(sum(shares) / len(shares) - 0.075) < 0.012
