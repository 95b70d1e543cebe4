"""Kappa's interval: it is about the kappa that it says, and holds the true one."""

import json

import numpy as np
import pytest

from mm_sae_plugin.stats.agreement import cohen_kappa
from mm_sae_plugin.stats.kappa_interval import kappa_with_interval


def drawn(joint: np.ndarray, n: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Pairs of classes of a joint distribution."""
    cells = rng.choice(joint.size, size=n, p=joint.ravel())
    return [f"c{c // len(joint)}" for c in cells], [f"c{c % len(joint)}" for c in cells]


def test_the_interval_holds_the_true_kappa():
    joint = np.array([[0.3, 0.05, 0.05], [0.05, 0.2, 0.05], [0.02, 0.08, 0.2]])
    chance = float(joint.sum(0) @ joint.sum(1))
    true = (np.trace(joint) - chance) / (1 - chance)
    rng, n_held = np.random.default_rng(0), 0
    for seed in range(200):
        first, second = drawn(joint, 150, rng)
        kappa = kappa_with_interval(first, second, n_resamples=300, seed=seed)
        assert kappa.value == cohen_kappa(first, second) and kappa.n == 150
        assert kappa.value is not None and kappa.low is not None and kappa.high is not None
        assert kappa.low < kappa.value < kappa.high
        n_held += kappa.low <= true <= kappa.high
    # Of 200 at 95%: fewer than 180 or all would be far from it.
    assert 180 <= n_held < 200


def test_more_things_make_it_narrower_by_their_root():
    rng, widths = np.random.default_rng(1), []
    joint = np.array([[0.35, 0.15], [0.15, 0.35]])
    for n in (200, 3200):
        kappa = kappa_with_interval(*drawn(joint, n, rng), n_resamples=2000)
        assert kappa.low is not None and kappa.high is not None
        widths.append(kappa.high - kappa.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.15)


def test_perfect_agreement_is_certain_of_itself():
    kappa = kappa_with_interval("aabbcc" * 10, "aabbcc" * 10)
    assert (kappa.value, kappa.low, kappa.high) == (1, pytest.approx(1), pytest.approx(1))


@pytest.mark.parametrize(("first", "second"), [("", ""), ("aaaa", "abab")])
def test_where_kappa_says_nothing_neither_does_its_interval(first, second):
    record = kappa_with_interval(first, second).record()
    assert record == {"value": None, "low": None, "high": None, "n": len(first)}
    json.dumps(record, allow_nan=False)


def test_one_thing_of_another_class_is_too_few_for_an_interval():
    """A third of the resamples has it on either side; the others have one class only."""
    kappa = kappa_with_interval("ab", "ab")
    assert kappa.value == 1
    lonely = kappa_with_interval("a" * 30 + "b", "a" * 30 + "b", n_resamples=2000)
    # It is drawn in 1 - (30/31)^31 = 64% of the resamples.
    assert lonely.low == pytest.approx(1)
    hardly = kappa_with_interval("aaab", "abaa", n_resamples=2000)
    assert hardly.value is not None and hardly.low is None
