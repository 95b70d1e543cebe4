"""Permutation tests, Holm, and intervals over people."""

import numpy as np
import pytest
from scipy.stats import permutation_test as scipys

from mm_sae_plugin.applications.bias.permutation import (
    Shuffle,
    bootstrap_interval,
    holm,
    paired_test,
    permutation_test,
    proportion_interval,
)
from mm_sae_plugin.errors import UserError


def _gap(values):
    return lambda labels: float(values[labels].mean() - values[~labels].mean())


def test_p_counts_the_observed_labels_once():
    values = np.concatenate([np.full(12, 9.0), np.zeros(12)]) + np.linspace(0, 1, 24)
    labels = np.arange(24) < 12
    test = permutation_test(_gap(values), labels, Shuffle(n_permutations=499))
    assert test.n_permutations == 499
    assert test.p == 1 / 500
    assert permutation_test(_gap(-values), labels, Shuffle(n_permutations=499)).p == 1 / 500


def test_p_agrees_with_scipy():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0.6, 1, 20), rng.normal(0, 1, 20)])
    labels = np.arange(40) < 20
    own = permutation_test(_gap(values), labels, Shuffle(n_permutations=5_000))
    theirs = scipys(
        (values[:20], values[20:]),
        lambda a, b: a.mean() - b.mean(),
        n_resamples=5_000,
        rng=np.random.default_rng(2),
    )
    assert 0.005 < own.p < 0.2
    # Four standard errors of the difference of two counts of 5,000.
    assert own.p == pytest.approx(theirs.pvalue, abs=4 * np.sqrt(2 * own.p / 5_000))


def test_the_same_seed_gives_the_same_labels():
    labels = np.arange(30) < 15
    one, again, other = (
        list(Shuffle(n_permutations=3, seed=seed).of(labels)) for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert all(permuted.sum() == 15 for permuted in one)


def test_images_of_a_person_keep_one_label():
    people = tuple("aabbbcdd")
    labels = np.array([True, True, False, False, False, True, False, False])
    for permuted in Shuffle(people, 50).of(labels):
        for person in "abcd":
            assert len(set(permuted[np.array(people) == person])) == 1
        assert len({p for p, label in zip(people, permuted, strict=True) if label}) == 2


def test_permuting_people_raises_no_more_alarms_than_it_should():
    rng = np.random.default_rng(0)
    people = tuple(f"p{i // 8}" for i in range(96))
    labels = np.arange(96) < 48
    alarms = {True: 0, False: 0}
    for seed in range(200):
        values = np.repeat(rng.normal(size=12), 8) + 0.2 * rng.normal(size=96)
        for whole in alarms:
            shuffle = Shuffle(people if whole else None, 99, seed)
            alarms[whole] += permutation_test(_gap(values), labels, shuffle).p <= 0.05
    # .05 of 200 is 10, with a standard deviation of 3.1; images one by one are no trials at all.
    assert alarms[True] <= 22
    assert alarms[False] > 80


def test_identities_that_fit_no_labels_are_refused():
    labels = np.array([True, False, True])
    with pytest.raises(UserError, match="'a' is in two groups"):
        next(Shuffle(("a", "a", "b")).of(labels))
    with pytest.raises(UserError, match="2 identities for 3 images"):
        next(Shuffle(("a", "b")).of(labels))


def test_twins_are_swapped_in_every_way():
    # All six go one way: of 64 ways two are as far.
    test = paired_test(np.array([1.0, 2.0, 0.5, 1.5, 3.0, 1.0]))
    assert test.value == 1.5
    assert test.p == 2 / 64
    assert test.n_permutations == 63
    assert paired_test(np.array([2.0])).p == 1
    many = paired_test(np.random.default_rng(0).normal(0.5, 1, 200), n_permutations=999)
    assert many.p == 1 / 1000
    with pytest.raises(UserError, match="no pairs"):
        paired_test(np.zeros(0))


def test_exact_and_drawn_swaps_agree():
    differences = np.random.default_rng(3).normal(0.4, 1, 14)
    exact = paired_test(differences).p
    drawn = paired_test(np.append(differences, 0.0), n_permutations=9_999).p
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / 9_999))


def test_a_quantity_that_is_no_number_is_not_significant():
    labels = np.arange(24) < 12
    for broken in (np.nan, np.inf):
        values = np.append(np.zeros(23), broken)
        with pytest.raises(UserError, match=r"not finite in \d+ of 100 labellings: check"):
            permutation_test(_gap(values), labels, Shuffle(n_permutations=99))
        with pytest.raises(UserError, match="not finite in 1000 of 1000 labellings"):
            paired_test(values, n_permutations=999)
        with pytest.raises(UserError, match=r"not finite in \d+ of 50 resamples"):
            bootstrap_interval(lambda rows, v=values: v[rows].mean(), 24, n_resamples=50)
    with pytest.raises(AssertionError):
        holm({"x": float("nan")})


def test_holm_of_a_known_example():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}
    assert holm({}) == {}


def test_interval_of_a_mean_is_that_of_normal_theory():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap_interval(lambda rows: values[rows].mean(), 400)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.03
    )
    assert found.n_clusters == 400


def test_interval_over_people_is_wider_than_over_images():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=25), 16)
    people = [f"p{i // 16}" for i in range(400)]
    over_images = bootstrap_interval(lambda rows: values[rows].mean(), 400)
    over_people = bootstrap_interval(lambda rows: values[rows].mean(), 400, people)
    width = [found.high - found.low for found in (over_images, over_people)]
    # Sixteen images of a person say no more than one: the width is fourfold.
    assert width[1] / width[0] == pytest.approx(4, rel=0.15)
    assert over_people.n_clusters == 25


def test_groups_keep_their_sizes_in_every_resample():
    groups = ["a"] * 3 + ["b"] * 9
    seen = []
    bootstrap_interval(lambda rows: seen.append(rows) or 0.0, 12, groups=groups, n_resamples=50)
    assert all((rows < 3).sum() == 3 and (rows >= 3).sum() == 9 for rows in seen)
    assert len({tuple(rows) for rows in seen}) > 40


def test_twins_are_resampled_as_pairs():
    seen = []
    pairs = [f"pair{i // 2}" for i in range(20)]
    bootstrap_interval(lambda rows: seen.append(rows) or 0.0, 20, pairs, n_resamples=50)
    assert all((rows % 2 == 0).sum() == 10 for rows in seen)


def test_one_person_gives_no_interval():
    with pytest.raises(UserError, match="at least two people in each group"):
        bootstrap_interval(lambda rows: 0.0, 4, ["p", "q", "q", "r"], ["a", "b", "b", "b"])
    with pytest.raises(UserError, match="'p' is in two groups"):
        bootstrap_interval(lambda rows: 0.0, 4, ["p", "p", "q", "r"], ["a", "b", "b", "b"])


def test_wilson_interval_of_known_counts():
    found = proportion_interval(0, 24)
    assert found.low == 0
    # z² / (n + z²)
    assert found.high == pytest.approx(3.8415 / (24 + 3.8415), abs=1e-4)


def test_short_numbers_do_not_break_ties():
    """Swapping all pairs is as far as swapping none, whatever the numbers are held in."""
    chance = np.random.default_rng(0)
    for _ in range(50):
        differences = chance.normal(1.0, 0.1, 4).astype(np.float32)
        assert paired_test(differences).p == paired_test(differences.astype(float)).p == 1 / 8
