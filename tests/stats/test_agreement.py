"""Cohen's kappa, and where it says nothing."""

import pytest

from mm_sae_plugin.stats.agreement import cohen_kappa


def test_kappa_is_agreement_beyond_chance():
    assert cohen_kappa("aabb", "aabb") == 1
    assert cohen_kappa("aabb", "abab") == 0
    assert cohen_kappa("aabb", "bbaa") == -1
    # 7 of 10 agree; chance gives 0.5 · 0.7 + 0.5 · 0.2.
    assert cohen_kappa("aaaaabbbbb", "aaaaaaabbc") == pytest.approx((0.7 - 0.45) / 0.55)


@pytest.mark.parametrize(("first", "second"), [("", ""), ("aaaa", "abab"), ("abab", "bbbb")])
def test_one_class_says_nothing(first, second):
    assert cohen_kappa(first, second) is None
