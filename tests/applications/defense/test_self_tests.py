"""Self-tests of an evaluation: an honest model passes all, and each way to fool attacks is seen."""

import pytest
import torch

from mm_sae_plugin import load_model
from mm_sae_plugin.applications.defense.binarization import binarization_test
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.evaluation import right
from mm_sae_plugin.applications.defense.expectation import expectation
from mm_sae_plugin.applications.defense.gradient_attacks import pgd
from mm_sae_plugin.applications.defense.self_tests import self_tests
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.victim import Victim

BUDGET = Budget(4 / 255)
SIZES = {"n_steps": 8, "n_queries": 30}


@pytest.fixture(scope="module")
def asked():
    # On the plain tower a random start within half of all fools already.
    model = load_model("factorworld-robust")
    task = Task.of_world("object", 12)
    classes = task.classes(model)
    bare = Victim(model, classes)
    return model, classes, bare.pixels(task.pictures), task.indices


def outcome(asked, defense=None, **more):
    model, classes, images, labels = asked
    return self_tests(Victim(model, classes, defense), images, labels, BUDGET, **SIZES, **more)


def failed(found):
    return {name for name, test in found.items() if not test.passed}


def test_an_honest_model_passes(asked):
    found = outcome(asked)
    assert failed(found) == set(), found
    assert len(found) == 7
    assert found["binarization"].figure == 1.0


def test_gradients_hidden_by_no_grad_are_seen(asked):
    @torch.no_grad()
    def hidden(rows):
        return rows.clone()

    assert {"gradient", "large_eps", "binarization"} <= failed(outcome(asked, hidden))


def test_gradients_lost_by_rounding_are_seen(asked):
    def rounded(rows):
        return (rows * 50).round() / 50

    assert {"gradient", "large_eps", "binarization"} <= failed(outcome(asked, rounded))


def test_randomness_that_nobody_told_of_is_seen(asked):
    model, classes, images, labels = asked
    few = images[:3], labels[:3], BUDGET, 2, 2
    generator = torch.Generator().manual_seed(0)

    def noisy(rows):
        return rows + 0.1 * torch.randn(rows.shape, generator=generator)

    victim = Victim(model, classes, noisy)
    assert "deterministic" in failed(self_tests(victim, *few))
    assert "deterministic" not in failed(self_tests(victim, *few, is_random=True))


def test_a_mean_over_draws_is_attacked_better_than_one_draw(asked):
    model, classes, images, labels = asked
    generator = torch.Generator().manual_seed(0)
    victim = Victim(
        model, classes, lambda rows: rows + 0.3 * torch.randn(rows.shape, generator=generator)
    )
    judged = expectation(victim, 32)
    kept = right(judged, images, labels)
    x, y = images[kept], labels[kept]
    single = pgd(victim, x, y, BUDGET, 10)
    mean = pgd(expectation(victim, 8), x, y, BUDGET, 10)
    assert right(judged, mean.images, y).sum() <= right(judged, single.images, y).sum()
    assert not victim(x[:2]).equal(victim(x[:2]))


def test_what_is_planted_is_seldom_found_by_chance(asked):
    model, classes, images, _ = asked
    found = binarization_test(Victim(model, classes).vectors, images, BUDGET, n_steps=20)
    assert found.posed.all() and found.success == 1.0 and found.by_chance < 0.5


def test_features_that_see_nothing_pose_no_problem(asked):
    images = asked[2][:4]
    found = binarization_test(lambda pixels: pixels.new_zeros(len(pixels), 8), images, BUDGET)
    assert not found.posed.any() and found.success == 0.0
