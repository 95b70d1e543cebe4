"""Agreement beyond chance, and where it says nothing."""

from itertools import combinations, permutations

import numpy as np
import pytest

from mm_sae_plugin.stats.agreement import cohen_kappa, krippendorff_alpha


def test_kappa_is_agreement_beyond_chance():
    assert cohen_kappa("aabb", "aabb") == 1
    assert cohen_kappa("aabb", "abab") == 0
    assert cohen_kappa("aabb", "bbaa") == -1
    # 7 of 10 agree; chance gives 0.5 · 0.7 + 0.5 · 0.2.
    assert cohen_kappa("aaaaabbbbb", "aaaaaaabbc") == pytest.approx((0.7 - 0.45) / 0.55)


@pytest.mark.parametrize(("first", "second"), [("", ""), ("aaaa", "abab"), ("abab", "bbbb")])
def test_one_class_says_nothing(first, second):
    assert cohen_kappa(first, second) is None


def test_alpha_at_its_ends():
    assert krippendorff_alpha(["aabb", "aabb", "aabb"]) == 1
    found = krippendorff_alpha(["ab", "ba"])
    # All four answers disagree with the other of their thing; chance gives 1 of 3 alike.
    assert found == pytest.approx(1 - 1 / (2 / 3))


def test_alpha_is_one_less_the_observed_over_the_expected_disagreement():
    rng = np.random.default_rng(0)
    drawn = rng.choice([*"abc."], size=30, p=[0.4, 0.2, 0.2, 0.2]).tolist()
    answers = [[None if answer == "." else answer for answer in drawn]]
    answers += [[a if rng.random() < 0.6 else "b" for a in answers[0]] for _ in range(3)]
    things = [[a for a in thing if a is not None] for thing in zip(*answers, strict=True)]
    things = [thing for thing in things if len(thing) > 1]
    pooled = [a for thing in things for a in thing]
    observed = sum(
        sum(a != b for a, b in permutations(thing, 2)) / (len(thing) - 1) for thing in things
    ) / len(pooled)
    expected = np.mean([a != b for a, b in combinations(pooled, 2)])
    assert krippendorff_alpha(answers) == pytest.approx(1 - observed / expected)


def test_alpha_does_not_mind_who_answered():
    whole = krippendorff_alpha(["aabbc", "abbbc"])
    assert whole is not None
    mixed: list[list[str | None]] = [["a", "b", "b", "b", None], ["a", "a", "b", "b", "c"]]
    mixed += [[None, None, None, None, "c"]]
    assert krippendorff_alpha(mixed) == pytest.approx(whole)


@pytest.mark.parametrize("ratings", [[], ["abc"], ["aa", "aa"], [["a", None], [None, "b"]]])
def test_alpha_says_nothing_where_nothing_can_be_compared(ratings):
    assert krippendorff_alpha(ratings) is None
