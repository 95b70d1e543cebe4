"""Verdicts over seeds, on rows whose answer is known."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mm_sae_plugin.applications.defense.arms import FARE, RANDOM, READINGS
from mm_sae_plugin.applications.defense.measuring import TaskResult
from mm_sae_plugin.applications.defense.verdicts import (
    beats_fare,
    claim_c5,
    difference,
    paired_tests,
)

OTHERS = ("ImgD", "CrossD", RANDOM)


def row(name, seed, adaptive, task="object", clean=0.9, kind="fine-tuned", robust=""):
    return TaskResult(
        name, kind, seed, task, 100, clean, adaptive, adaptive, [0.0, 1.0], robust=robust
    )


def seeds(name, shares, **more):
    return [row(name, seed, share, **more) for seed, share in enumerate(shares)]


def c5(first, others, suffix="", n_seeds=3):
    """Rows of TextD and of what it is compared with."""
    rows = seeds(f"TextD{suffix}", first[:n_seeds])
    for name, shares in zip(OTHERS, others, strict=True):
        named = name if name == RANDOM else f"{name}{suffix}"
        rows += seeds(named, shares[:n_seeds])
    return rows


HIGH, MIDDLE, LOW = [0.51, 0.50, 0.52], [0.40, 0.41, 0.42], [0.20, 0.22, 0.21]
WIDE = [0.10, 0.42, 0.80]


@pytest.mark.parametrize(
    ("first", "others", "verdict"),
    [
        (HIGH, (MIDDLE, LOW, LOW), "supported"),
        (LOW, (MIDDLE, HIGH, LOW), "not supported"),
        # One that leads is enough, whatever the others do.
        (MIDDLE, (LOW, LOW, HIGH), "not supported"),
        (MIDDLE, (LOW, LOW, WIDE), "undecided"),
        (MIDDLE, (MIDDLE, LOW, LOW), "undecided"),
    ],
)
def test_the_claim_of_the_paper(first, others, verdict):
    found = claim_c5(c5(first, others), "object")
    assert found.verdict == verdict, found.reason
    assert [each.other for each in found.differences] == list(OTHERS)
    for each, shares in zip(found.differences, others, strict=True):
        assert each.n_seeds == 3 and each.mean == pytest.approx(np.mean(first) - np.mean(shares))
        assert f"{each.other} {each.mean:+.3f} [{each.low:+.3f}, {each.high:+.3f}]" in found.reason


def test_two_seeds_decide_nothing():
    rows = c5(HIGH, (LOW, LOW, LOW), n_seeds=2)
    found = claim_c5(rows, "object")
    assert found.verdict == "undecided" and "(2 seeds)" in found.reason
    one = claim_c5(c5(HIGH, (LOW, LOW, LOW), n_seeds=1), "object")
    assert one.verdict == "undecided" and "+0.310 (1 seed)" in one.reason
    assert {(each.low, each.high) for each in one.differences} == {(None, None)}


def test_seeds_that_only_one_of_them_has_do_not_count():
    rows = [*c5(HIGH, (LOW, LOW, LOW)), row("TextD", 7, 0.99)]
    assert {each.n_seeds for each in claim_c5(rows, "object").differences} == {3}
    assert claim_c5(rows, "object").differences[0].mean == pytest.approx(0.3)
    few = [each for each in rows if not (each.name == "ImgD" and each.seed == 0)]
    assert claim_c5(few, "object").verdict == "undecided"


def test_without_a_tower_the_claim_is_not_tested():
    rows = [each for each in c5(HIGH, (LOW, LOW, LOW)) if each.name != "CrossD"]
    found = claim_c5(rows, "object")
    assert found.verdict == "not tested" and "aligned on CrossD:" in found.reason
    # What is done to vectors of the same name is no tower.
    untrained = rows + seeds("CrossD", LOW, kind="training-free")
    assert claim_c5(untrained, "object").verdict == "not tested"
    assert claim_c5([], "object").verdict == "not tested"


def test_other_tasks_say_nothing_of_the_one_that_is_judged():
    rows = c5(HIGH, (LOW, LOW, LOW)) + seeds("TextD", [0.0] * 3, task="backdrop")
    assert claim_c5(rows, "object").verdict == "supported"


def test_the_classes_by_the_score_of_the_paper_are_others():
    rows = c5(HIGH, (LOW, LOW, LOW)) + c5(LOW, (HIGH, HIGH, LOW), " (paper)")
    rows = list({(each.name, each.seed): each for each in rows}.values())
    own, paper = (claim_c5(rows, "object", paper_labels=which) for which in (False, True))
    assert (own.verdict, paper.verdict) == ("supported", "not supported")
    assert [each.one for each in paper.differences] == ["TextD (paper)"] * 3
    compared = [each.other for each in paper.differences]
    assert compared == ["ImgD (paper)", "CrossD (paper)", RANDOM]
    assert claim_c5(c5(HIGH, (LOW, LOW, LOW)), "object", True).verdict == "not tested"


def test_the_interval_is_that_of_a_paired_t_test():
    ours, theirs = [0.51, 0.44, 0.62, 0.48], [0.40, 0.41, 0.42, 0.50]
    found = difference(seeds("a", ours) + seeds("b", theirs), "a", "b", ["object"])
    expected = ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs)) and found.n_seeds == 4


def fare(ours, theirs, clean=(0.9, 0.9), tasks=("object", "colour")):
    """Rows of the readings and of FARE; each task's shares by seed."""
    rows = []
    for name, shares, of_clean in ((READINGS, ours, clean[0]), (FARE, theirs, clean[1])):
        for task, of_task in zip(tasks, shares, strict=True):
            rows += seeds(name, of_task, task=task, clean=of_clean)
    return rows


def test_of_several_tasks_the_lowest_counts_seed_by_seed():
    # In the mean of all tasks and seeds FARE leads by far.
    ours, theirs = ([0.5, 0.4, 0.5], [0.4, 0.5, 0.4]), ([0.9, 0.3, 0.9], [0.2, 0.9, 0.3])
    found = beats_fare(fare(ours, theirs), ["object", "colour"])
    worst, *each = found.differences
    assert worst.task == "worst task" and worst.mean == pytest.approx((0.2 + 0.1 + 0.1) / 3)
    assert [one.task for one in each] == ["object", "colour"]
    assert each[0].mean == pytest.approx(np.mean(ours[0]) - np.mean(theirs[0]))
    expected = ttest_rel([0.4, 0.4, 0.4], [0.2, 0.3, 0.3]).confidence_interval(0.95)
    assert (worst.low, worst.high) == pytest.approx((expected.low, expected.high))
    assert expected.low < 0 < expected.high and found.verdict == "undecided"


@pytest.mark.parametrize(
    ("ours", "clean", "verdict"),
    [
        (HIGH, 0.90, "supported"),
        # A little clean accuracy may be lost, and no more.
        (HIGH, 0.885, "supported"),
        (HIGH, 0.875, "not supported"),
        (LOW, 0.90, "not supported"),
        (WIDE, 0.90, "undecided"),
        (WIDE, 0.80, "undecided"),
    ],
)
def test_whether_anything_beats_fare(ours, clean, verdict):
    found = beats_fare(fare([ours], [MIDDLE], (clean, 0.9), ["object"]), ["object"])
    assert found.verdict == verdict, found.reason
    assert f"at {clean - 0.9:+.3f} of clean accuracy" in found.reason


def test_fare_and_too_few_seeds_or_tasks():
    two = fare([HIGH[:2]], [LOW[:2]], tasks=["object"])
    assert beats_fare(two, ["object"]).verdict == "undecided"
    assert beats_fare(two, ["size"]).verdict == "not tested"
    assert beats_fare(seeds(READINGS, HIGH), ["object"]).verdict == "not tested"
    # A task that one of them was not attacked on is left out.
    rows = fare([HIGH], [LOW], tasks=["object"]) + seeds(READINGS, [0.0] * 3, task="colour")
    found = beats_fare(rows, ["object", "colour"])
    assert found.verdict == "supported"
    assert [each.task for each in found.differences] == ["object", "object"]


def test_a_seed_that_lacks_a_task_is_left_out():
    rows = fare(([0.5, 0.5, 0.5],) * 2, ([0.3, 0.3, 0.3],) * 2)
    rows = [each for each in rows if (each.name, each.task, each.seed) != (FARE, "colour", 2)]
    found = beats_fare(rows, ["object", "colour"])
    assert [each.n_seeds for each in found.differences] == [2, 3, 2]
    assert found.verdict == "undecided"


def test_images_are_compared_one_by_one_with_the_undefended():
    bare = row("none", 0, 0.2, kind="undefended", robust="11" + "0" * 8)
    other = row("none", 0, 0.2, "colour", kind="undefended", robust="1" + "0" * 9)
    rows = [
        bare,
        # Eight for it, none against: 2 / 2^8.
        row("FARE", 0, 1.0, robust="1" * 10),
        # Six for it, one against: 2 (1 + 7) / 2^7.
        row("FARE", 1, 0.7, robust="10" + "1" * 6 + "00"),
        # As many for as against it.
        row("ImgD", 0, 0.2, robust="00" + "11" + "0" * 6),
        other,
        # Seven for it, none against: 2 / 2^7.
        row("FARE", 0, 0.8, "colour", robust="1" * 8 + "00"),
        # Nothing to compare with.
        row("FARE", 0, 0.8, "size", robust="1" * 10),
    ]
    found = paired_tests(rows)
    assert [(each["name"], each["seed"], each["task"]) for each in found] == [
        ("FARE", 0, "object"),
        ("FARE", 1, "object"),
        ("ImgD", 0, "object"),
        ("FARE", 0, "colour"),
    ]
    p = [2 / 2**8, 2 * 8 / 2**7, 1.0, 2 / 2**7]
    assert [each["p"] for each in found] == pytest.approx(p)
    # Holm: the smallest times 4, the next times 3, then 2, then 1, never falling.
    assert [each["holm"] for each in found] == pytest.approx([4 * p[0], 2 * p[1], 1.0, 3 * p[3]])


def test_alone_the_undefended_encoder_is_compared_with_nothing():
    assert paired_tests([row("none", 0, 0.2, kind="undefended", robust="10")]) == []
