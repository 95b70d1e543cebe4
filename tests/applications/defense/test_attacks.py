"""Attacks on a linear model, whose robust accuracy is known in closed form."""

from typing import Any, cast

import pytest
import torch

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.gradient_attacks import (
    apgd,
    apgd_targeted,
    checkpoints_of,
    pgd,
)
from mm_sae_plugin.applications.defense.losses import cross_entropy_loss, margin_loss, targeted_loss
from mm_sae_plugin.applications.defense.square import square
from mm_sae_plugin.errors import UserError

N, K, SHAPE = 200, 5, (3, 4, 4)
EPS = {"Linf": 0.012, "L2": 0.08}


@pytest.fixture(scope="module")
def linear():
    """A linear model, images at least a quarter away from 0 and 1, and its own classes."""
    chance = torch.Generator().manual_seed(0)
    weights = torch.randn(K, 48, generator=chance)
    images = 0.3 + 0.4 * torch.rand(N, *SHAPE, generator=chance)
    offset = -(weights @ images.flatten(1).mean(0))

    def model(x):
        return x.flatten(1) @ weights.T + offset

    return model, images, model(images).argmax(1), weights


def robust(linear, norm):
    """Robust where the margin over every class exceeds eps times the dual norm of the weights."""
    model, images, labels, weights = linear
    logits = model(images)
    apart = weights[labels][:, None] - weights[None]
    dual = apart.norm(p=1 if norm == "Linf" else 2, dim=2)
    margins = logits.gather(1, labels[:, None]) - logits
    survives = margins > EPS[norm] * dual
    survives[torch.arange(N), labels] = True
    return survives.all(1)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_targeted_apgd_finds_what_can_be_found_and_nothing_else(linear, norm):
    model, images, labels, _ = linear
    expected = robust(linear, norm)
    assert 0.2 < expected.float().mean() < 0.8
    found = apgd_targeted(model, images, labels, Budget(EPS[norm], norm), 100)
    torch.testing.assert_close(~found.fooled, expected)
    assert (model(found.images).argmax(1) != labels).equal(found.fooled)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("attack", [pgd, apgd])
def test_untargeted_attacks_find_most_and_never_what_is_robust(linear, norm, attack):
    model, images, labels, _ = linear
    expected = robust(linear, norm)
    found = attack(model, images, labels, Budget(EPS[norm], norm), 50)
    assert not (found.fooled & expected).any()
    assert (~found.fooled).float().mean() <= expected.float().mean() + 0.12


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_square_is_weaker_but_finds_some(linear, norm):
    model, images, labels, _ = linear
    expected = robust(linear, norm)
    found = square(model, images, labels, Budget(EPS[norm], norm), 500)
    assert not (found.fooled & expected).any()
    assert found.fooled.float().mean() > 0.3 * (~expected).float().mean()
    few = square(model, images, labels, Budget(EPS[norm], norm), 5)
    assert few.fooled.sum() < found.fooled.sum()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("attack", [pgd, apgd, apgd_targeted, square])
def test_attacks_stay_within_their_budget_and_repeat(linear, norm, attack):
    model, images, labels, _ = linear
    bright = (images + 0.5).clamp(0, 1)
    budget = Budget(EPS[norm], norm)
    one, other = (attack(model, bright, labels, budget, 10) for _ in range(2))
    assert budget.holds(one.images, bright)
    assert one.images.equal(other.images)
    assert not Budget(0.4 * EPS[norm], norm).holds(one.images, bright)


def test_no_room_finds_no_more_than_the_model_misses_already(linear):
    model, images, labels, _ = linear
    wrong = labels.clone()
    wrong[:20] = (labels[:20] + 1) % K
    for attack in (pgd, apgd, apgd_targeted):
        found = attack(model, images, wrong, Budget(0.0), 5)
        assert found.fooled[:20].all() and not found.fooled[20:].any()
        assert found.images.equal(images)


def test_a_model_without_gradients_stops_no_attack(linear):
    model, images, labels, _ = linear
    with torch.no_grad():
        logits = model(images)
    found = pgd(lambda x: logits, images, labels, Budget(0.05), 3)
    assert not found.fooled.any()


def test_checkpoints_are_those_of_the_paper():
    assert checkpoints_of(100) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_losses_grow_towards_other_classes():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    label, target = torch.tensor([0]), torch.tensor([1])
    assert margin_loss(logits, label).item() == -1
    assert targeted_loss(logits, label, target).item() == pytest.approx(-1 / 2.5)
    # It does not change with the scale of the logits, nor with what is added to them.
    assert targeted_loss(5 * logits + 2, label, target).item() == pytest.approx(-1 / 2.5)
    assert targeted_loss(logits[:, :3], label, target).item() == -1
    assert cross_entropy_loss(logits, label).item() == pytest.approx(0.4519, abs=1e-3)


@pytest.mark.parametrize(("eps", "norm"), [(-0.1, "Linf"), (1.5, "Linf"), (float("nan"), "L2")])
def test_no_radius_that_is_none(eps, norm):
    with pytest.raises(UserError, match="eps must be from 0 to"):
        Budget(eps, norm)


@pytest.mark.usefixtures("any_types")
def test_no_norm_that_is_none():
    with pytest.raises(UserError, match="norm must be Linf or L2, not 'L1'"):
        Budget(0.1, cast(Any, "L1"))
