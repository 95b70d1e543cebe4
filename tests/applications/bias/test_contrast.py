"""Gaps as weighted sums of similarities."""

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.contrast import contrast_of_groups, pooled

FIRST = [True, False, True, False, False]
TARGETS = ["nurse", "nurse", "pilot", "pilot", "pilot"]


def _rows(n: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_gaps_are_differences_of_mean_logits():
    images, prompts = _rows(5, 0), _rows(2, 1)
    gaps = contrast_of_groups(FIRST, TARGETS, ["nurse", "pilot"], 50.0).gaps(images, prompts)
    logits = 50 * images @ prompts.T
    assert gaps["nurse"] == pytest.approx(float(logits[0, 0] - logits[1, 0]), abs=1e-4)
    pilot = float(logits[2, 1] - logits[3:, 1].mean())
    assert gaps["pilot"] == pytest.approx(pilot, abs=1e-4)


def test_without_targets_all_images_are_compared():
    images, prompts = _rows(5, 0), _rows(2, 1)
    gaps = contrast_of_groups(FIRST, None, ["a", "b"], 1.0).gaps(images, prompts)
    logits = images @ prompts.T
    mask = torch.tensor(FIRST)
    expected = logits[mask].mean(0) - logits[~mask].mean(0)
    assert list(gaps.values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_what_all_images_share_drops_out():
    images, prompts = _rows(5, 0), _rows(2, 1)
    contrast = contrast_of_groups(FIRST, TARGETS, ["nurse", "pilot"], 10.0)
    moved = contrast.gaps(images + _rows(1, 9), prompts)
    assert list(moved.values()) == pytest.approx(
        list(contrast.gaps(images, prompts).values()), abs=1e-5
    )
    assert contrast.weights.sum(1) == pytest.approx([0, 0], abs=1e-6)
    assert contrast.weights.clamp_min(0).sum(1) == pytest.approx([1, 1])


def test_turning_the_groups_turns_the_sign():
    images, prompts = _rows(5, 0), _rows(2, 1)
    one = contrast_of_groups(FIRST, TARGETS, ["nurse", "pilot"], 10.0)
    other = contrast_of_groups([not f for f in FIRST], TARGETS, ["nurse", "pilot"], 10.0)
    turned = [-gap for gap in other.gaps(images, prompts).values()]
    assert list(one.gaps(images, prompts).values()) == pytest.approx(turned, abs=1e-5)


def test_a_target_without_one_of_the_groups_is_a_broken_invariant():
    with pytest.raises(AssertionError, match="nurse"):
        contrast_of_groups([True, True, True, False, False], TARGETS, ["nurse"], 1.0)


def test_prompts_of_a_target_are_averaged():
    rows = _rows(5, 3)
    found = pooled(rows, [2, 3])
    assert torch.allclose(found[0], (rows[0] + rows[1]) / 2)
    assert torch.allclose(found[1], rows[2:].mean(0))
