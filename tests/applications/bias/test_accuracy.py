"""Accuracy and selection by group."""

import subprocess
import sys

import pytest

from mm_sae_plugin.applications.bias.accuracy import parity, subgroup_accuracy
from mm_sae_plugin.errors import UserError

# The eighteen rows with which fairlearn's user guide explains its metrics.
TRUTH = [0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1]
PREDICTED = [0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0]
GROUP = list("bbabbcccaacabccbcc")


def test_parity_of_the_documented_example():
    found = parity([bool(one) for one in PREDICTED], GROUP)
    assert found.rates == {"a": 0.75, "b": 0.5, "c": 0.5}
    assert found.difference == 0.25
    assert found.ratio == pytest.approx(0.6667, abs=5e-5)


def test_accuracy_of_the_documented_example_counted_by_hand():
    found = subgroup_accuracy(list(map(str, TRUTH)), list(map(str, PREDICTED)), {"sf": GROUP})
    right = [t == p for t, p in zip(TRUTH, PREDICTED, strict=True)]
    for name in "abc":
        own = [r for r, g in zip(right, GROUP, strict=True) if g == name]
        assert found.by_group["sf"][name] == pytest.approx(sum(own) / len(own))
        assert found.counts["sf"][name] == len(own)
    assert found.overall == pytest.approx(sum(right) / 18)
    assert found.counts["sf"] == {"a": 4, "b": 6, "c": 8}
    assert found.worst == ("a",)
    assert found.worst_accuracy == 0.25


def test_the_worst_group_may_be_an_intersection():
    groups = {"sex": ["w", "w", "m", "m", "m"], "age": ["old", "young", "old", "old", "young"]}
    found = subgroup_accuracy(list("aabba"), list("abbba"), groups)
    assert found.by_group["sex"] == {"m": 1.0, "w": 0.5}
    assert found.by_group["age"] == {"old": 1.0, "young": 0.5}
    assert found.worst == ("w", "young")
    assert found.worst_accuracy == 0
    assert found.intersectional_counts == {
        ("m", "old"): 2,
        ("m", "young"): 1,
        ("w", "old"): 1,
        ("w", "young"): 1,
    }


def test_combinations_without_images_are_left_out():
    found = subgroup_accuracy(list("ab"), list("ab"), {"x": ["p", "q"], "y": ["r", "s"]})
    assert found.intersectional == {("p", "r"): 1.0, ("q", "s"): 1.0}


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="give images and a group column"):
        subgroup_accuracy(["a"], ["a"], {})
    with pytest.raises(UserError, match="1 values of 'predictions' for 2 images"):
        subgroup_accuracy(["a", "b"], ["a"], {"g": ["x", "y"]})
    with pytest.raises(UserError, match="2 values of 'g' for 1 images"):
        subgroup_accuracy(["a"], ["a"], {"g": ["x", "y"]})
    with pytest.raises(UserError, match="1 groups for 2 images"):
        parity([True, False], ["x"])


def test_fairlearn_is_imported_when_it_is_asked():
    code = (
        "import sys, mm_sae_plugin\n"
        "from mm_sae_plugin.applications.bias import accuracy, groups, layouts, metrics, prompts\n"
        "print('fairlearn' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
