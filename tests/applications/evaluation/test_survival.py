"""Which latents keep their class, counted by hand, and what chance would give."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from mm_sae_plugin.applications.evaluation.survival import class_survival, survival_by_cosine
from mm_sae_plugin.stats.feature_matching import FeatureMatching


def matching(partner: list[int], cosine: list[float]) -> FeatureMatching:
    return FeatureMatching(torch.tensor(partner), torch.tensor(cosine, dtype=torch.float64))


def test_counted_by_hand():
    first = ["ImgD", "ImgD", "ImgD", "TextD", "CrossD", "Undetermined", "Dead"]
    second = ["ImgD", "TextD", "TextD", "CrossD", "Undetermined", "ImgD", "Dead"]
    #          0 → 0 same; 1 → 1 other; 2 → 5 too far; 3 → 2 same; 4 → 3 same; 5 → 4 same
    found = matching([0, 1, 5, 2, 3, 4, -1], [0.9, 0.8, 0.69, 0.7, 0.99, 0.75, torch.nan])
    survival = class_survival(first, second, found, min_cosine=0.7)
    counts = {
        name: (group.of_alive.count, group.of_matched.n, group.of_alive.n)
        for name, group in survival.groups.items()
    }
    assert counts == {
        "alive": (4, 5, 6),
        "decided": (3, 4, 5),
        "ImgD": (1, 2, 3),
        "TextD": (1, 1, 1),
        "CrossD": (1, 1, 1),
        "Undetermined": (1, 1, 1),
    }
    assert survival.groups["ImgD"].matched.value == pytest.approx(2 / 3)
    assert survival.table["ImgD"] == {"ImgD": 1, "CrossD": 0, "TextD": 1, "Undetermined": 0}
    assert survival.kappa.n == 5
    assert survival.median_cosine == pytest.approx(0.775)
    near, nearer = survival_by_cosine(first, second, found, (0.7, 0.85))
    assert (near.matched, near.of_matched) == (
        survival.groups["decided"].matched,
        survival.groups["decided"].of_matched,
    )
    assert (nearer.matched.count, nearer.matched.n, nearer.of_matched.count) == (2, 5, 2)


def drawn(n: int, seed: int) -> list[str]:
    names = ["ImgD", "CrossD", "TextD", "Undetermined"]
    return np.random.default_rng(seed).choice(names, n, p=[0.5, 0.2, 0.2, 0.1]).tolist()


def test_chance_is_that_of_classes_dealt_out_anew():
    """Its mean is Σ n_c m_c / n² for all, and m_c / n for those of one class, exactly."""
    first, second = drawn(200, 1), drawn(200, 2)
    same = matching(list(range(200)), [1.0] * 200)
    survival = class_survival(first, second, same, n_shuffles=4000)
    own, there = Counter(first), Counter(second)
    expected = sum(own[name] * there[name] for name in own) / 200**2
    alive = survival.groups["alive"]
    assert alive.chance == pytest.approx(expected, abs=0.003)
    assert survival.groups["ImgD"].chance == pytest.approx(there["ImgD"] / 200, abs=0.003)
    # These classes were drawn independently, so that chance is all there is.
    low, high = alive.chance_interval or (1, 0)
    assert low < expected < high and high - low == pytest.approx(4 * 0.034, rel=0.25)
    assert alive.p_value is not None and alive.p_value > 0.02


def test_the_same_labels_survive_and_not_by_chance():
    classes = drawn(200, 1)
    same = matching(list(range(200)), [1.0] * 200)
    alive = class_survival(classes, classes, same, n_shuffles=99).groups["alive"]
    assert alive.of_alive.value == alive.of_matched.value == 1
    assert alive.p_value == 1 / 100
    assert alive.chance is not None and alive.chance < 0.5


def test_where_nothing_is_matched_nothing_survives():
    survival = class_survival(["ImgD", "Dead"], ["ImgD"], matching([0, -1], [0.2, torch.nan]))
    alive = survival.groups["alive"]
    assert (alive.of_alive.value, alive.of_matched.value, alive.chance) == (0, None, None)
    record = json.loads(json.dumps(survival.record(), allow_nan=False))
    assert record["groups"]["TextD"]["of_alive"]["value"] is None
    assert record["kappa"]["value"] is None
    nobody = class_survival(["Dead"], ["ImgD"], matching([-1], [torch.nan]))
    assert nobody.median_cosine is None
