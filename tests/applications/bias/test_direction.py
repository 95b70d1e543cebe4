"""The test of a stated direction, and the ways to state one."""

from math import comb

import numpy as np
import pytest

from mm_sae_plugin.applications.bias.assignments import MOST, Assignments
from mm_sae_plugin.applications.bias.direction import direction_test, signed_gap
from mm_sae_plugin.errors import UserError

TARGETS = [f"t{i}" for i in range(8)]
FOUR_FOUR = {target: 1 if i < 4 else -1 for i, target in enumerate(TARGETS)}


def _gaps(*values):
    return dict(zip(TARGETS, map(float, values), strict=True))


def test_every_assignment_is_gone_through_once():
    ways = Assignments(8, 4)
    masks = [tuple(mask) for mask in ways]
    assert ways.is_complete and len(ways) == len(masks) == len(set(masks)) == 70
    assert all(sum(mask) == 4 for mask in masks)
    assert (ways.floor, ways.p(7)) == (1 / 70, 0.1)


def test_too_many_assignments_are_drawn_and_the_observed_one_counts():
    ways = Assignments(24, 12, seed=3)
    assert comb(24, 12) > MOST and not ways.is_complete
    masks = [tuple(mask) for mask in ways]
    assert len(masks) == len(ways) == MOST
    assert all(sum(mask) == 12 for mask in masks)
    assert ways.floor == ways.p(0) == 1 / (MOST + 1)
    assert masks[:5] == [tuple(m) for m, _ in zip(Assignments(24, 12, 3), range(5), strict=False)]
    assert masks[:5] != [tuple(m) for m, _ in zip(Assignments(24, 12, 4), range(5), strict=False)]


def test_gaps_that_follow_reach_the_floor():
    test = direction_test(_gaps(2, 1.5, 1, 1.2, -1, -2, -1.1, -0.6), FOUR_FOUR)
    assert test.p == test.floor == 1 / 70
    assert test.n_following == test.n_targets == 8
    assert test.signed == pytest.approx((1.425 + 1.175) / 2)


def test_gaps_that_go_the_other_way_have_the_largest_p():
    test = direction_test(_gaps(-2, -1.5, -1, -1.2, 1, 2, 1.1, 0.6), FOUR_FOUR)
    assert test.p == 1
    assert test.n_following == 0
    assert test.signed < 0


def test_an_offset_that_all_gaps_share_drops_out():
    gaps = _gaps(0.5, -0.2, 0.1, 0.9, -0.4, 0.3, -0.8, 0.05)
    plain = direction_test(gaps, FOUR_FOUR)
    moved = direction_test({target: gap + 5 for target, gap in gaps.items()}, FOUR_FOUR)
    assert moved.signed == pytest.approx(plain.signed)
    assert (moved.p, moved.n_following) == (plain.p, plain.n_following)
    assert signed_gap(gaps, FOUR_FOUR) == plain.signed


def test_equal_gaps_say_nothing():
    test = direction_test(_gaps(*[0.3] * 8), FOUR_FOUR)
    assert (test.p, test.signed, test.n_following) == (1, 0, 0)


def test_p_is_seldom_small_by_chance():
    rng = np.random.default_rng(0)
    found = [direction_test(_gaps(*rng.normal(size=8)), FOUR_FOUR).p for _ in range(400)]
    # 3 of 70 assignments is the most under .05; four standard errors of 400 tries are .04.
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(3 / 70, abs=0.04)


def test_targets_without_a_stated_direction_stand_aside():
    gaps = _gaps(2, 1.5, 1, 1.2, -1, -2, -1.1, -0.6) | {"other": 100.0}
    assert direction_test(gaps, FOUR_FOUR).n_targets == 8
    assert direction_test(gaps, FOUR_FOUR).signed == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("direction", "said"),
    [
        ({"t0": 1, "none": -1}, "'none', which has no gap"),
        ({"t0": 1, "t1": 1}, "stated for either group"),
        ({}, "stated for either group"),
        ({"t0": 1, "t1": 2}, r"\+1 and -1"),
    ],
)
def test_what_is_no_direction_is_refused(direction, said):
    with pytest.raises(UserError, match=said):
        direction_test(_gaps(*range(8)), direction)


def test_too_few_targets_are_not_said_to_go_elsewhere():
    """Two against two follow perfectly, and p cannot be below 1/6."""
    gaps = {"a": 5.0, "b": 4.0, "c": -4.0, "d": -5.0}
    few = direction_test(gaps, {"a": 1, "b": 1, "c": -1, "d": -1})
    assert few.p == few.floor == pytest.approx(1 / 6)
    assert few.verdict.startswith("Whether the gaps follow the stated direction cannot be told")
    assert "three or more on either side" in few.verdict and "not follow" not in few.verdict
    enough = direction_test(
        gaps | {"e": 3.0, "f": -3.0}, dict.fromkeys("abe", 1) | dict.fromkeys("cdf", -1)
    )
    assert enough.verdict.startswith("The gaps follow the stated direction: 6 of 6")
    assert "the least possible is 0.050" in enough.verdict
