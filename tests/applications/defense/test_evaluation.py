"""The worst case over attacks, static beside adaptive, and what masks its gradients."""

import pytest
import torch

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.evaluation import (
    STATIC,
    evaluate,
    mcnemar,
    right,
    standard_attacks,
)
from mm_sae_plugin.applications.defense.gradient_attacks import Attacked, pgd

N, BUDGET = 150, Budget(0.05)
ATTACKS = standard_attacks(10, 10, 100)


@pytest.fixture(scope="module")
def two_classes():
    """Grey levels below and above one half; robust where they are further than eps from it."""
    images = (0.5 + torch.linspace(-0.2, 0.2, N))[:, None, None, None].expand(N, 3, 4, 4).clone()

    def model(x):
        level = 40 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-level, level], 1)

    return model, images, (torch.linspace(-0.2, 0.2, N) > 0).long()


def test_the_worst_case_is_what_is_true(two_classes):
    model, images, labels = two_classes
    found = evaluate(model, images, labels, BUDGET, ATTACKS)
    level = images.mean((1, 2, 3))
    robust = (level - 0.5).abs() > BUDGET.eps
    assert found.clean.all() and found.worst.equal(robust)
    assert found.interval.low < robust.float().mean() < found.interval.high
    # Whoever fell before has not survived what came later.
    rates = [found.rate(name) for name in ATTACKS]
    assert rates == sorted(rates, reverse=True)


def test_a_defense_that_masks_gradients_only_looks_robust_to_white_boxes(two_classes):
    model, images, labels = two_classes

    def masked(x):
        with torch.no_grad():
            return model(x)

    whites = {name: ATTACKS[name] for name in ("PGD", "APGD-CE")}
    start_only = evaluate(masked, images, labels, BUDGET, whites)
    found = evaluate(masked, images, labels, BUDGET, ATTACKS)
    true = evaluate(model, images, labels, BUDGET, ATTACKS)
    assert start_only.worst.float().mean() > true.worst.float().mean() + 0.1
    assert found.worst.sum() < start_only.worst.sum()


def test_static_images_flatter_a_defense_that_looks_elsewhere(two_classes):
    _, images, labels = two_classes

    def looking_at(channel):
        def model(x):
            level = 40 * (x[:, channel].mean((1, 2)) - 0.5)
            return torch.stack([-level, level], 1)

        return model

    # From the images themselves: what a model does not look at stays as it is.
    made = pgd(looking_at(0), images, labels, BUDGET, 10, seed=None).images
    assert not right(looking_at(0), made, labels).all()
    found = evaluate(looking_at(1), images, labels, BUDGET, ATTACKS, made)
    assert found.rate(STATIC) == 1.0 and found.worst.float().mean() < 0.8


def test_images_outside_the_budget_are_no_evidence(two_classes):
    model, images, labels = two_classes

    def cheating(victim, x, y, budget):
        return Attacked(1 - x, torch.ones(len(x), dtype=torch.bool))

    with pytest.raises(AssertionError, match="cheating"):
        evaluate(model, images, labels, BUDGET, {"cheating": cheating})
    with pytest.raises(AssertionError, match="outside the budget"):
        evaluate(model, images, labels, BUDGET, {}, 1 - images)


def test_an_attack_is_not_believed(two_classes):
    model, images, labels = two_classes

    def boasting(victim, x, y, budget):
        return Attacked(x, torch.ones(len(x), dtype=torch.bool))

    assert evaluate(model, images, labels, BUDGET, {"boasting": boasting}).worst.all()


def test_mcnemar_counts_only_where_two_differ():
    one = torch.tensor([True] * 40 + [False] * 10)
    other = torch.tensor([True] * 30 + [False] * 20)
    assert mcnemar(one, other) == pytest.approx(2 * 0.5**10)
    assert mcnemar(one, one) == 1.0
    assert mcnemar(one, ~one) == pytest.approx(mcnemar(~one, one))


def test_where_nothing_stands_nothing_is_attacked(two_classes):
    model, images, labels = two_classes

    def never(victim, x, y, budget):
        raise AssertionError("was called")

    found = evaluate(model, images, 1 - labels, BUDGET, {"never": never})
    assert not found.worst.any()
    none = evaluate(model, images[:0], labels[:0], BUDGET, {"never": never})
    assert none.worst.shape == (0,)
