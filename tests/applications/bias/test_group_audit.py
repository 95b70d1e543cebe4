"""An audit of groups finds what was put in, and nothing where nothing was."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin import UserError
from mm_sae_plugin.applications.bias.group_audit import audit_groups
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.nearest import nearest_names
from mm_sae_plugin.applications.bias.prompts import PromptSet

N, D, SCALE = 120, 16, 20.0
TARGETS = tuple("abcdef")
PROMPTS = PromptSet(
    ("a {}", "the {}"),
    {name: (name,) for name in TARGETS},
    {name: "woman" if name in "abc" else "man" for name in TARGETS},
)


def vectors(lean: float):
    """Images whose axis 0 is the group; prompts of a, b, c lean to it and those of d, e, f away."""
    chance = torch.Generator().manual_seed(0)
    group = ["woman" if i % 2 else "man" for i in range(N)]
    images = torch.randn(N, D, generator=chance)
    images[:, 0] = torch.tensor([1.0 if name == "woman" else -1.0 for name in group])
    texts = {}
    for name in TARGETS:
        rows = torch.randn(2, D, generator=chance)
        rows[:, 0] = lean if name in "abc" else -lean
        texts[name] = normalize(rows, dim=1)
    return normalize(images, dim=1), texts, group


def test_a_lean_is_found_in_every_prompt_and_in_the_stated_direction():
    images, texts, group = vectors(2.0)
    found = audit_groups(images, texts, SCALE, Groups(tuple(group)), PROMPTS, "woman", 200)
    for name, audit in found.prompts.items():
        sign = 1 if name in "abc" else -1
        logits = SCALE * (images @ texts[name].T).mean(1)
        is_woman = torch.tensor([one == "woman" for one in group])
        gap = float(logits[is_woman].mean() - logits[~is_woman].mean())
        assert audit.gap.value == pytest.approx(gap, abs=1e-4) and sign * gap > 1
        assert audit.interval.low <= gap <= audit.interval.high
        assert audit.p == pytest.approx(1 / 201) and audit.p <= audit.p_adjusted <= 0.05
        assert set(audit.gap_by_template) == {"a {}", "the {}"}
        assert np.mean(list(audit.gap_by_template.values())) == pytest.approx(gap, abs=1e-4)
        assert list(audit.max_skews) == list(audit.share_gaps) == [10, 50, 100]
        assert sign * audit.share_gaps[50].value > 0 and audit.max_skews[10].value > 0
        assert audit.ndkl.value > audit.ndkl.expected
    assert found.direction is not None and found.direction.n_following == 6
    assert found.direction.p == found.direction.floor == pytest.approx(1 / 20)


def test_no_lean_follows_no_direction():
    images, texts, group = vectors(0.0)
    found = audit_groups(images, texts, SCALE, Groups(tuple(group)), PROMPTS, "woman", 200)
    assert found.direction is not None and found.direction.p > 0.05
    assert min(audit.p_adjusted for audit in found.prompts.values()) > 0.01


def test_without_a_direction_none_is_tested_and_groups_are_named():
    images, texts, group = vectors(1.0)
    silent = PromptSet(PROMPTS.templates, PROMPTS.targets)
    groups = Groups(tuple(group))
    assert audit_groups(images, texts, SCALE, groups, silent, "man", 50).direction is None
    with pytest.raises(UserError, match="no group 'child': choose from man, woman"):
        audit_groups(images, texts, SCALE, groups, PROMPTS, "child")


def test_a_gap_is_between_images_of_one_target_where_images_have_targets():
    """Two women who are nurses for every man, and no lean at all within either occupation."""
    images, texts, _ = vectors(0.0)
    target = ["a" if i % 3 else "b" for i in range(N)]
    group = ["woman" if (i % 3) ^ (i % 7 == 0) else "man" for i in range(N)]
    images[[i for i in range(N) if target[i] == "a"]] += 3 * texts["a"][0]
    images = normalize(images, dim=1)
    prompts = PROMPTS.of_targets(("a", "b"))
    asked = {name: texts[name] for name in "ab"}
    blind = audit_groups(images, asked, SCALE, Groups(tuple(group)), prompts, "woman", 200)
    groups = Groups(tuple(group), tuple(target))
    within = audit_groups(images, asked, SCALE, groups, prompts, "woman", 200)
    assert blind.prompts["a"].p_adjusted < 0.01
    assert within.prompts["a"].p_adjusted > 0.05
    assert within.prompts["a"].n_images == target.count("a")
    assert abs(within.prompts["a"].gap.value) < 0.3 * blind.prompts["a"].gap.value
    # A ranking is of all images.
    assert within.prompts["a"].ndkl == blind.prompts["a"].ndkl


def test_targets_without_two_people_of_each_group_are_left_out():
    images, texts, group = vectors(1.0)
    target = tuple(
        "a" if i < 100 else "b" if name == "man" else "a" for i, name in enumerate(group)
    )
    groups = Groups(tuple(group), target)
    asked = {name: texts[name] for name in "ab"}
    found = audit_groups(images, asked, SCALE, groups, PROMPTS.of_targets("ab"), "woman", 50)
    assert list(found.prompts) == ["a"] and found.left_out == ("b",) and found.direction is None
    apart = Groups(tuple(group), tuple("a" if name == "man" else "b" for name in group))
    with pytest.raises(UserError, match="No target has two people of each group"):
        audit_groups(images, asked, SCALE, apart, PROMPTS.of_targets("ab"), "woman", 50)


def test_the_nearest_target_is_that_of_the_mean_prompt():
    texts = {"x": torch.eye(4)[:1], "y": torch.eye(4)[1:2]}
    assert nearest_names(torch.eye(4)[[0, 1, 0]], texts) == ["x", "y", "x"]
