"""Attacks on joint vectors and codes: each raises what it is after, within its budget."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.evaluation import evaluate, right
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.vector_attacks import (
    attack_vectors,
    embedding_attack,
    latent_attack,
    towards,
)
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.models import load_model
from mm_sae_plugin.study import Study

N, N_STEPS = 12, 5
BUDGETS = [Budget(2 / 255), Budget(0.3, "L2")]


@pytest.fixture(scope="module")
def asked():
    """The bare encoder on a task, with its pixels and labels."""
    model, task = load_model("factorworld"), Task.of_world("object", N)
    victim = Victim(model, task.classes(model))
    return victim, victim.pixels(task.pictures), task.indices


@pytest.fixture(scope="module")
def alive(small_sae):
    """A study, and which of its latents fire."""
    study = Study.open(small_sae)
    return study.feature_map, study.labels.alive


def rotation(size):
    chance = torch.Generator().manual_seed(3)
    return torch.linalg.qr(torch.randn(size, size, generator=chance)).Q


@torch.no_grad()
def cosines(victim, images, target):
    return cosine_similarity(victim.vectors(images), target)


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.norm)
def test_an_objective_rises_within_the_budget(asked, budget):
    victim, images, _ = asked
    direction = normalize(torch.randn(128, generator=torch.Generator().manual_seed(0)), dim=0)

    def objective(rows):
        return rows @ direction

    moved = attack_vectors(victim, images, objective, budget, N_STEPS)
    start = budget.random(images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        reached, before, at_start = (
            objective(victim.vectors(each)) for each in (moved, images, start)
        )
    assert (reached > before + 0.02).all() and (reached > at_start).all()
    assert budget.holds(moved, images)
    assert moved.equal(attack_vectors(victim, images, objective, budget, N_STEPS))
    other = attack_vectors(victim, images, objective, budget, N_STEPS, seed=1)
    assert not moved.equal(other)


def test_images_come_near_a_text_and_nearer_with_more_room(asked):
    victim, images, _ = asked
    with torch.no_grad():
        text = victim.model.encode_text(["a large green star"], normalize=True)
    found = [cosines(victim, images, text)]
    for eps in (1 / 255, 4 / 255):
        moved = towards(victim, images, text, Budget(eps), N_STEPS)
        found.append(cosines(victim, moved, text))
    clean, near, nearer = found
    assert (near > clean + 0.01).all() and (nearer > near + 0.01).all()


def test_every_image_goes_to_its_own_target(asked):
    victim, images, _ = asked
    with torch.no_grad():
        others = victim.vectors(images).roll(1, 0)
    moved = towards(victim, images, others, Budget(4 / 255), N_STEPS)
    assert (cosines(victim, moved, others) > cosines(victim, images, others) + 0.1).all()
    # To that one, and not to its neighbour.
    apart = cosines(victim, moved, others) - cosines(victim, images, others)
    aside = cosines(victim, moved, others.roll(1, 0)) - cosines(victim, images, others.roll(1, 0))
    assert (apart > aside).all()


def test_an_attack_goes_through_the_defense(asked):
    victim, images, _ = asked
    turn, budget = rotation(128), Budget(2 / 255)
    defended = Victim(victim.model, victim.classes, lambda rows: rows @ turn)
    text = victim.classes[:1]
    through = towards(defended, images, text, budget, N_STEPS)
    around = towards(victim, images, text, budget, N_STEPS)
    clean = cosines(defended, images, text)
    assert (cosines(defended, through, text) > clean + 0.02).all()
    assert (cosines(defended, through, text) > cosines(defended, around, text)).all()


def test_moved_vectors_are_misclassified(asked, alive):
    victim, images, labels = asked
    feature_map, mask = alive
    budget = Budget(8 / 255)
    start = budget.random(images, torch.Generator().manual_seed(0))
    by_chance = int(right(victim, start, labels).sum())
    attacks = {
        "embedding": embedding_attack(victim, N_STEPS),
        "latents": latent_attack(victim, feature_map, mask, N_STEPS),
    }
    for name, attack in attacks.items():
        found = evaluate(victim, images, labels, budget, {name: attack})
        assert int(found.worst.sum()) < by_chance - N // 4, name


def test_what_an_attack_says_of_its_victim_is_true(asked):
    victim, images, labels = asked
    found = embedding_attack(victim, N_STEPS)(victim, images, labels, Budget(4 / 255))
    assert found.fooled.equal(~right(victim, found.images, labels)) and found.fooled.any()


def test_no_latents_leave_an_image_at_its_random_start(asked, alive):
    victim, images, labels = asked
    feature_map, mask = alive
    budget = Budget(4 / 255)
    nothing = latent_attack(victim, feature_map, torch.zeros_like(mask), N_STEPS, seed=5)
    start = budget.random(images, torch.Generator().manual_seed(5))
    assert nothing(victim, images, labels, budget).images.equal(start)
    found = evaluate(victim, images, labels, budget, {"nothing": nothing})
    assert found.worst.equal(found.clean & right(victim, start, labels))
    everything = latent_attack(victim, feature_map, mask, N_STEPS, seed=5)
    assert not everything(victim, images, labels, budget).images.equal(start)
