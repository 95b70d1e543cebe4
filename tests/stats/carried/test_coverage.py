"""Intervals hold the truth as often as they say; `tests.benchmarks.carried_coverage` has more."""

import pytest

from tests.stats.carried.coverage import Coverage, Worlds, cases


@pytest.fixture(scope="module")
def found():
    worlds = [Worlds(n_values, noise=0.05) for n_values in (2, 6, 12)]
    return [case for kind in worlds for seed in (3000, 3001) for case in cases(kind, seed)]


def test_intervals_hold_unequal_rates(found):
    unequal = Coverage.of(case for case in found if case.kind == "unequal")
    # 0.95 of some 140 latents, less three standard errors.
    assert unequal.n_decidable > 120 and unequal.held >= 0.89
    # They do so without being wide.
    assert unequal.width < 0.08


def test_intervals_hold_at_the_edges(found):
    edges = Coverage.of(case for case in found if case.kind != "unequal")
    assert edges.n_decidable > 60 and edges.held >= 0.87


def test_what_is_shown_together_often_enough_is_decidable(found):
    every = Coverage.of(found)
    assert sum(case.due for case in found) > 100 and every.undecidable <= 0.1


def test_clustered_captions_of_another_width_change_nothing():
    worlds = Worlds(n_values=6, noise=0.1, captions=2, extra=40)
    every = Coverage.of(case for seed in (3000, 3001) for case in cases(worlds, seed))
    assert every.n_decidable > 50 and every.held >= 0.86
