"""C1 and C2 on scores of which the answer is known."""

import numpy as np
import pytest

from mm_sae_plugin.applications.claims.claim import Finding, judged
from mm_sae_plugin.applications.claims.distribution import (
    LEAST,
    LEAST_LATENTS,
    Scored,
    claim_c1,
    claim_c2,
)


def scored(scores: list[float] | np.ndarray, concept: np.ndarray | None = None) -> Scored:
    values = np.asarray(scores, dtype=float)
    return Scored("toy", values, np.arange(len(values)) if concept is None else concept)


def around(middle: float, n: int = 200, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(middle, spread, n), 0, 1)


def figures(found: Finding) -> tuple[float, float, float]:
    """Value and both ends, all of which there are."""
    assert found.value is not None and found.low is not None and found.high is not None
    return found.value, found.low, found.high


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.3, "supported"),
        (-0.3, 0.01, "not supported"),
        (-0.3, -0.1, "not supported"),
        (-0.1, 0.1, "undecided"),
    ],
)
def test_a_difference_is_judged_by_its_whole_interval(low, high, verdict):
    assert judged(low, high, 0.02) == verdict


@pytest.mark.parametrize(
    ("middle", "verdict"), [(0.7, "supported"), (0.5, "not supported"), (0.3, "not supported")]
)
def test_a_skew_towards_images_is_found_where_it_is(middle, verdict):
    found = claim_c1(scored(around(middle, n=2_000)), None, "paper")
    assert found.verdict == verdict
    value, low, high = figures(found)
    assert value == pytest.approx(middle - 0.5, abs=0.01)
    assert low < value < high
    assert found.n == 2_000


def test_few_latents_far_apart_leave_a_skew_undecided():
    assert claim_c1(scored(around(0.52, n=30, spread=0.3)), None, "carried").verdict == "undecided"


def test_a_skew_that_an_untrained_sae_has_too_is_not_the_dictionarys():
    trained = scored(around(0.7))
    found = claim_c1(trained, 0.75, "paper")
    assert found.verdict == "undecided" and "untrained" in found.reason
    assert found.null == 0.25
    assert claim_c1(trained, 0.5, "paper").verdict == "supported"


def test_halves_of_one_concept_are_not_two_facts():
    values = np.repeat(around(0.6, n=100, spread=0.2), 10)
    alone = claim_c1(scored(values), None, "carried")
    together = claim_c1(scored(values, np.repeat(np.arange(100), 10)), None, "carried")
    (_, low, high), (_, lower, higher) = figures(alone), figures(together)
    # Ten copies of each make an interval that is too narrow by the root of ten.
    assert higher - lower == pytest.approx((high - low) * 10**0.5, rel=0.1)
    assert together.value == alone.value


@pytest.mark.parametrize(
    ("spread_plain", "spread_other", "verdict"),
    [(0.05, 0.3, "supported"), (0.3, 0.05, "not supported"), (0.2, 0.2, "not supported")],
)
def test_models_are_compared_by_how_far_latents_lie_from_the_middle(
    spread_plain, spread_other, verdict
):
    plain = scored(around(0.5, 4_000, spread_plain))
    other = scored(around(0.5, 4_000, spread_other, seed=0))
    found = claim_c2(plain, other, "paper")
    assert found.verdict == verdict
    expected = np.abs(2 * other.scores - 1).mean() - np.abs(2 * plain.scores - 1).mean()
    assert found.value == pytest.approx(expected)
    if spread_plain == spread_other:
        assert abs(figures(found)[0]) < LEAST


def test_too_few_latents_are_said_to_be_too_few():
    few, enough = scored(around(0.9, LEAST_LATENTS - 1)), scored(around(0.9))
    for found in (claim_c1(few, None, "paper"), claim_c2(enough, few, "paper")):
        assert found.verdict == "undecided"
        assert "19 latents" in found.reason and found.value is None


def test_the_interval_holds_the_mean_as_often_as_it_says():
    inside = 0
    for seed in range(200):
        found = claim_c1(scored(around(0.6, n=60, seed=seed)), None, "paper", seed=seed)
        _, low, high = figures(found)
        inside += low <= 0.1 <= high
    assert 0.89 <= inside / 200 <= 0.99
