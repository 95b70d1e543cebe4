"""A detector that only a knowing attack evades, one that none does, and a real one."""

import json
from dataclasses import asdict

import pytest
import torch

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.detection import Detector
from mm_sae_plugin.applications.defense.evasion import Watched, evade, evaluate_detection
from mm_sae_plugin.applications.defense.losses import margin_loss
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.models import load_model

N, BUDGET = 80, Budget(0.05)


@pytest.fixture(scope="module")
def greys():
    """Grey levels below and above one half, which a classifier reads in all channels."""
    levels = torch.linspace(-0.1, 0.1, N)
    images = (0.5 + levels)[:, None, None, None].expand(N, 3, 4, 4).clone()
    return images, (levels > 0).long()


def logits_of(pixels):
    level = 40 * (pixels.mean((1, 2, 3)) - 0.5)
    return torch.stack([-level, level], 1)


def off_grey(pixels):
    """How far blue is from red: what keeps them together passes."""
    return 100 * (pixels[:, 2] - pixels[:, 0]).mean((1, 2)).abs()


def test_a_knowing_attack_evades_what_an_unknowing_one_does_not(greys):
    images, labels = greys

    def look(pixels):
        # Along the slope of these logits blue moves against red.
        level = pixels.mean((1, 2, 3)) + (pixels[:, 2] - pixels[:, 0]).mean((1, 2)) - 0.5
        return 40 * torch.stack([-level, level], 1), off_grey(pixels)

    found = evaluate_detection(Watched(look, 1.0), images, labels, BUDGET)
    assert found.clean == 1 and found.false_positives == 0
    assert found.static.fooled > 0.9 and found.static.detected == 1 and found.static.evaded == 0
    assert found.static.auroc.value == 1 and found.adaptive.detected != 1
    # All grey levels by eps: what is nearer to one half than that can be fooled and pass.
    near = float(((images.mean((1, 2, 3)) - 0.5).abs() < BUDGET.eps).float().mean())
    assert found.adaptive.evaded == pytest.approx(near, abs=0.06)
    assert found.adaptive.low < found.adaptive.evaded < found.adaptive.high


def test_a_detector_that_flags_all_that_is_wrong_is_not_evaded(greys):
    images, labels = greys

    def look(pixels):
        # It knows the classes, and every image by its place.
        return logits_of(pixels), margin_loss(logits_of(pixels), labels)

    moved = evade(Watched(look, 0.0), images, labels, BUDGET, images)
    wrong = look(moved)[0].argmax(1) != labels
    assert wrong.float().mean() > 0.3 and (look(moved)[1][wrong] > 0).all()


def test_what_is_found_is_allowed_and_least_suspicious(greys):
    images, labels = greys
    watched = Watched(lambda pixels: (logits_of(pixels), off_grey(pixels)), 1.0)
    found = evade(watched, images, labels, BUDGET, images)
    assert BUDGET.holds(found, images) and found.equal(
        evade(watched, images, labels, BUDGET, images)
    )
    fooled = logits_of(found).argmax(1) != labels
    assert found[~fooled].equal(images[~fooled])
    # What is given as known is taken where nothing better is found.
    known = (images + BUDGET.eps * (1 - 2 * labels)[:, None, None, None]).clamp(0, 1)
    assert off_grey(known).max() < 1e-3
    taken = evade(watched, images, labels, BUDGET, known, n_steps=0)
    wrong = logits_of(known).argmax(1) != labels
    assert taken[wrong].equal(known[wrong]) and wrong.any()


def test_no_room_leaves_what_was_wrong_before(greys):
    images, labels = greys
    wrong = labels.clone()
    wrong[:20] = 1 - labels[:20]
    watched = Watched(lambda pixels: (logits_of(pixels), off_grey(pixels)), 1.0)
    found = evaluate_detection(watched, images, wrong, Budget(0.0), 3)
    assert found.clean == 0.75
    for caught in (found.static, found.adaptive):
        assert caught.fooled == caught.evaded == 0.25 and caught.detected == 0


def test_a_detector_beside_a_real_victim_and_its_defense():
    model, task = load_model("factorworld"), Task.of_world("object", 8)
    defended = Victim(model, task.classes(model), lambda rows: rows.flip(1))
    pixels, labels = defended.pixels(task.pictures), task.indices
    bare = model.encode_image(list(task.pictures), normalize=True)
    watched = Watched.of(defended, Detector("first", lambda rows: rows[:, 0], 0.0))
    logits, suspicion = watched.look(pixels)
    torch.testing.assert_close(logits, defended(pixels), atol=1e-4, rtol=0)
    torch.testing.assert_close(suspicion, bare[:, 0], atol=1e-4, rtol=0)
    found = evaluate_detection(watched, pixels, labels, Budget(4 / 255), 2)
    assert found.adaptive.evaded >= found.static.evaded
    assert json.loads(json.dumps(asdict(found)))["static"]["auroc"]["n_negative"] == 8
