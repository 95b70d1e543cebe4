"""Gaps, skews and NDKL: published values, ties, and what chance alone gives."""

from itertools import permutations
from math import comb, log

import numpy as np
import pytest

from mm_sae_plugin.applications.bias.metrics import (
    count_skew,
    logit_gap,
    max_skew_at_k,
    ndkl,
    share_gap,
)
from mm_sae_plugin.applications.bias.permutation import Shuffle
from mm_sae_plugin.applications.bias.ranking import found_at
from mm_sae_plugin.errors import UserError

SEVEN_THREE = ["M"] * 7 + ["W"] * 3
FALLING = np.arange(10.0, 0.0, -1.0)
BROKEN = np.array([np.nan, np.inf, *FALLING[2:]])
WANTED = {"M": 0.7, "W": 0.3}


def test_ndkl_of_the_published_ranking():
    assert ndkl(FALLING, SEVEN_THREE, wanted=WANTED).value == pytest.approx(0.2925566, abs=5e-8)
    bits = ndkl(FALLING, SEVEN_THREE, wanted=WANTED, base="bits")
    assert bits.value == pytest.approx(0.4220700, abs=5e-8)
    assert bits.expected == pytest.approx(
        ndkl(FALLING, SEVEN_THREE, wanted=WANTED).expected / log(2)
    )


def test_ndkl_to_a_depth_is_that_of_the_head_alone():
    groups = ["M", "W", "M", "M", "W", "W", "W", "M", "M", "M"]
    head = ndkl(FALLING[:4], groups[:4], wanted=WANTED)
    assert ndkl(FALLING, groups, k=4, wanted=WANTED).value == pytest.approx(head.value, abs=1e-12)


def test_ties_have_the_shares_that_are_expected_of_random_order():
    logits = np.array([3.0, 2.0, 2.0, 2.0, 1.0])
    groups = ["M", "M", "W", "W", "W"]
    shares = {"M": 0.4, "W": 0.6}
    tied = ndkl(logits, groups).value
    swapped = [groups[i] for i in (0, 3, 1, 2, 4)]
    assert ndkl(logits, swapped).value == pytest.approx(tied, abs=1e-12)
    orders = [
        ndkl(
            np.arange(5.0, 0.0, -1.0), ["M", *(groups[i] for i in order), "W"], wanted=shares
        ).value
        for order in permutations((1, 2, 3))
    ]
    assert tied < np.mean(orders)
    # Counts by hand: M first, then a third of an M at each of three places.
    prefix = [1, (1 + 1 / 3) / 2, (1 + 2 / 3) / 3, 2 / 4, 2 / 5]
    divergence = [m * log(m / 0.4) + ((1 - m) * log((1 - m) / 0.6) if m < 1 else 0) for m in prefix]
    weights = 1 / np.log2(np.arange(2, 7))
    assert tied == pytest.approx(np.average(divergence, weights=weights), abs=1e-12)
    assert ndkl(np.ones(5), groups).value == pytest.approx(0, abs=1e-12)


def test_images_that_tie_at_the_cut_are_found_in_part():
    found = found_at(np.array([5.0, 4.0, 4.0, 4.0, 1.0]), 2)
    assert found == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])
    assert found_at(FALLING, 10) == pytest.approx(np.ones(10))


def test_count_skews_with_add_one_smoothing():
    assert count_skew(24, 0) == pytest.approx(log(25))
    assert count_skew(0, 25) == pytest.approx(log(1 / 26))
    assert count_skew(3, 3, smoothing=0) == 0
    with pytest.raises(UserError, match=r"24 against 0 is not finite: smooth"):
        count_skew(24, 0, smoothing=0)


def test_max_skew_of_known_counts():
    # 4 of 4 found are M, where 7 of 10 are wanted.
    assert max_skew_at_k(FALLING, SEVEN_THREE, 4).value == pytest.approx(log(1 / 0.7))
    # 7 M and 1 W of 8: M by ln(.875 / .7), W far below.
    assert max_skew_at_k(FALLING, SEVEN_THREE, 8).value == pytest.approx(log(0.875 / 0.7))
    equal = max_skew_at_k(FALLING, SEVEN_THREE, 8, wanted={"M": 0.5, "W": 0.5})
    assert equal.value == pytest.approx(log(0.875 / 0.5))
    # One third of a W among the first two, since three tie for the second place.
    tied = max_skew_at_k(np.array([5.0, 4.0, 4.0, 4.0, 1.0]), ["M", "W", "M", "M", "W"], 2)
    assert tied.value == pytest.approx(log((5 / 3 / 2) / 0.6))


def test_expected_max_skew_is_exact_and_agrees_with_permutations():
    exact = max_skew_at_k(FALLING, SEVEN_THREE, 4)
    # P(0, 1, 2, 3 W among 4) of 7 M and 3 W.
    p = np.array([35, 105, 63, 7]) / 210
    skews = [
        max(log(m / 0.7), log(w / 0.3) if w else -9)
        for m, w in [(1, 0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75)]
    ]
    assert exact.expected == pytest.approx(p @ skews)
    each = Shuffle(identities=tuple(map(str, range(10))), n_permutations=4_000)
    shuffled = max_skew_at_k(FALLING, SEVEN_THREE, 4, shuffle=each)
    assert shuffled.value == exact.value
    # Standard deviation of a skew here is .26, so four standard errors are .017.
    assert shuffled.expected == pytest.approx(exact.expected, abs=0.017)
    assert shuffled.band == pytest.approx(exact.band)


# Against what is there the least skew is likely; against halves either end is rare.
@pytest.mark.parametrize("share", [14 / 64, 0.5])
def test_exact_band_holds_the_middle_of_all_draws(share):
    wanted = {"M": share, "W": 1 - share}
    exact = max_skew_at_k(np.arange(64.0), ["M"] * 14 + ["W"] * 50, 12, wanted)
    p = [comb(14, m) * comb(50, 12 - m) / comb(64, 12) for m in range(13)]
    skews = [
        max(log(n / 12 / of_all) for n, of_all in ((m, share), (12 - m, 1 - share)) if n)
        for m in range(13)
    ]

    def up_to(skew):
        return sum(one for one, s in zip(p, skews, strict=True) if s <= skew)

    low, high = exact.band
    assert up_to(low - 1e-9) < 0.025 <= up_to(low + 1e-9)
    assert up_to(high - 1e-9) < 0.975 <= up_to(high + 1e-9)
    assert exact.expected == pytest.approx(np.dot(p, skews))


def test_skew_of_three_groups_by_permutation():
    groups = ["a", "b", "c"] * 10
    metric = max_skew_at_k(np.arange(30.0), groups, 6)
    assert metric.value == pytest.approx(0, abs=1e-12)
    assert metric.expected > 0.2


def test_gaps_of_known_values():
    logits = np.array([4.0, 2.0, 1.0, 0.0, -1.0])
    groups = ["w", "w", "m", "m", "x"]
    gap = logit_gap(logits, groups, "w")
    assert gap.value == pytest.approx(3.0)
    assert gap.expected == 0
    assert gap.band[0] < 0 < gap.band[1]
    # Both of w among the first three, one of three others.
    assert share_gap(logits, groups, "w", 3).value == pytest.approx(1 - 1 / 3)
    # Group sizes do not matter when everything is found.
    assert share_gap(logits, groups, "w", 5).value == 0


def test_one_group_may_be_compared_with_one_other():
    logits = np.array([4.0, 2.0, 1.0, 0.0, -1.0])
    groups = ["w", "w", "m", "m", "x"]
    assert logit_gap(logits, groups, "w", second="m").value == pytest.approx(2.5)
    assert logit_gap(logits, groups, "x", second="m").value == pytest.approx(-1.5)
    assert share_gap(logits, groups, "w", 3, second="m").value == pytest.approx(1 - 1 / 2)
    two = ["w", "m"] * 20
    values = np.random.default_rng(0).normal(size=40)
    assert logit_gap(values, two, "w", second="m") == logit_gap(values, two, "w")


def test_an_offset_drops_out_of_the_gap():
    logits = np.random.default_rng(0).normal(size=40)
    groups = ["w", "m"] * 20
    plain, moved = (logit_gap(values, groups, "w") for values in (logits, logits + 7))
    assert moved.value == pytest.approx(plain.value)
    assert moved.band == pytest.approx(plain.band)
    assert logit_gap(logits, groups, "m").value == pytest.approx(-plain.value)


def test_images_of_few_people_leave_a_wider_band():
    rng = np.random.default_rng(0)
    people = [f"p{i // 10}" for i in range(100)]
    logits = np.repeat(rng.normal(size=10), 10) + 0.1 * rng.normal(size=100)
    groups = ["w" if i < 50 else "m" for i in range(100)]
    alone = logit_gap(logits, groups, "w")
    clustered = logit_gap(logits, groups, "w", Shuffle(tuple(people)))
    assert clustered.value == alone.value
    assert clustered.band[1] - clustered.band[0] > 2 * (alone.band[1] - alone.band[0])
    skews = [max_skew_at_k(logits, groups, 20, shuffle=s) for s in (None, Shuffle(tuple(people)))]
    assert skews[0].value == skews[1].value
    # The first twenty are of two people, who may well be of one group.
    assert skews[1].expected > 1.5 * skews[0].expected


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: logit_gap(FALLING, ["a"] * 10, "a"), "of one group"),
        (lambda: logit_gap(FALLING, SEVEN_THREE, "X"), r"no group 'X': choose from M, W"),
        (lambda: logit_gap(FALLING, SEVEN_THREE[1:], "M"), "9 groups for 10 logits"),
        (lambda: logit_gap(FALLING, SEVEN_THREE, "M", second="X"), r"no group 'X'"),
        (lambda: logit_gap(FALLING, SEVEN_THREE, "M", second="M"), "'M' has no gap to itself"),
        (lambda: logit_gap(BROKEN, SEVEN_THREE, "M"), "2 of 10 logits are not finite"),
        (lambda: share_gap(BROKEN, SEVEN_THREE, "M", 3), "2 of 10 logits are not finite"),
        (lambda: max_skew_at_k(BROKEN, SEVEN_THREE, 3), "2 of 10 logits are not finite"),
        (lambda: ndkl(BROKEN, SEVEN_THREE), "2 of 10 logits are not finite"),
        (lambda: share_gap(FALLING, SEVEN_THREE, "M", 11), "k is 11, but there are 10"),
        (lambda: ndkl(FALLING, SEVEN_THREE, k=0), "k is 0"),
        (lambda: ndkl(FALLING, SEVEN_THREE, wanted={"M": 1.0}), "above 0 for M, W"),
    ],
)
def test_bad_input_gets_a_sentence(call, said):
    with pytest.raises(UserError, match=said):
        call()
