"""What each arm aligns: which latents, which labels, and what keeps clean images in place."""

import re
from itertools import cycle
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mm_sae_plugin.applications.defense.arms import (
    ALL,
    ARMS,
    CLASSES,
    FARE,
    PAPER,
    PAPER_ARMS,
    RANDOM,
    READINGS,
    TECOA,
    WITHOUT_LATENTS,
    arm_of,
    latents_of,
)
from mm_sae_plugin.applications.defense.distances import NOT_SHOWN, embedding_distance
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model
from mm_sae_plugin.study import Study

LABELS = torch.tensor([[0, 1], [2, NOT_SHOWN], [NOT_SHOWN, 3], [NOT_SHOWN, NOT_SHOWN]])


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def tasks():
    return [Task.of_world("object", 4), Task.of_world("colour", 4)]


@pytest.fixture(scope="module")
def victims(model, tasks):
    return [Victim(model, task.classes(model)) for task in tasks]


@pytest.fixture(scope="module")
def pixels(victims, tasks):
    return victims[0].pixels(tasks[0].pictures)


def rows_of(victim, pixels):
    with torch.no_grad():
        return victim.vectors(pixels)


def labelled(small_sae, *names):
    """The study with these names dealt out to its latents alive in turn; the paper's one further.

    So small an SAE has no latents of some classes.
    """
    study = Study.open(small_sae)
    alive, turn = study.labels.alive, cycle(names)
    classes = [next(turn) if lives else "Dead" for lives in alive.tolist()]
    after = dict(zip(names, [*names[1:], names[0]], strict=True)) | {"Dead": "Dead"}
    paper = SimpleNamespace(classes=[after[each] for each in classes])
    labels = SimpleNamespace(
        classes=classes, alive=alive, by_paper_score=paper, statistics=study.labels.statistics
    )
    vars(study)["labels"] = labels
    return study


@pytest.fixture(scope="module")
def study(small_sae):
    return labelled(small_sae, *CLASSES, "Undetermined")


def test_every_arm_aligns_the_latents_that_it_names(study, model, tasks):
    moved, clean = study.store.image_rows()[:16], study.store.image_rows()[16:32]
    codes = [study.feature_map.encode(rows, "image") for rows in (moved, clean)]
    for name in {*ARMS, *PAPER_ARMS} - set(WITHOUT_LATENTS):
        arm = arm_of(name, model, tasks, LABELS, study)
        mask, _ = latents_of(name, study)
        decoded = [study.feature_map.decode(each * mask, "image") for each in codes]
        expected = (decoded[0] - decoded[1]).square().sum(1)
        torch.testing.assert_close(arm.distance(moved, clean), expected, atol=1e-5, rtol=1e-3)
        assert expected.max() > 0.01
        # Clean images are held by their whole vectors, or the rest of them drifts away.
        assert arm.anchor is embedding_distance and arm.targets is None
        assert arm.name == name and arm.told["n_latents"] == mask.sum() > 0


def test_all_latents_are_those_alive(study, small_sae):
    mask, told = latents_of(ALL, study)
    true = Study.open(small_sae).labels.classes
    assert mask.tolist() == [each != "Dead" for each in true] and told == {}


def test_classes_are_those_of_the_score_that_is_named(study):
    for name in CLASSES:
        for suffix, labels in (("", study.labels), (PAPER, study.labels.by_paper_score)):
            mask, told = latents_of(name + suffix, study)
            assert mask.tolist() == [each == name for each in labels.classes] and told == {}
        assert not latents_of(name, study)[0].equal(latents_of(name + PAPER, study)[0])


def test_the_labels_of_an_sae_are_asked_as_they_are(small_sae):
    study = Study.open(small_sae)
    mask, _ = latents_of("CrossD", study)
    assert mask.tolist() == [each == "CrossD" for each in study.labels.classes] and mask.any()


def test_a_class_without_latents_is_refused(small_sae, model, tasks):
    none = labelled(small_sae, "ImgD", "Undetermined")
    for name in ("TextD", "TextD (paper)", "CrossD (paper)"):
        told = re.escape(f"is {name[:6].strip()}, so that the arm '{name}' has nothing to align")
        with pytest.raises(UserError, match=f"{told}: leave it out"):
            arm_of(name, model, tasks, LABELS, none)
    with pytest.raises(
        UserError, match="is TextD, so that the arm 'random like TextD' has nothing"
    ):
        arm_of(RANDOM, model, tasks, LABELS, none)


def test_random_latents_are_as_many_and_others(study):
    like, (mask, told) = latents_of("TextD", study)[0], latents_of(RANDOM, study, 5)
    assert mask.sum() == like.sum() and not (mask & like).any()
    assert not (mask & ~study.labels.alive).any()
    assert told["mismatch_n_latents"] == 0.0
    channels = {"fires_image", "fires_text", "image_squared", "text_squared", "n_latents"}
    assert set(told) == {f"mismatch_{name}" for name in channels}
    assert latents_of(RANDOM, study, 5)[0].equal(mask)
    assert any(not latents_of(RANDOM, study, seed)[0].equal(mask) for seed in range(5))


def test_labels_are_learned_where_they_are_shown(model, tasks, victims, pixels):
    arm = arm_of(TECOA, model, tasks, LABELS)
    assert arm.targets is LABELS and arm.anchor is None and arm.told == {}
    rows = rows_of(victims[0], pixels)
    found = arm.distance(rows, LABELS)
    with torch.no_grad():
        first, second = (victim(pixels) for victim in victims)
    own = [
        cross_entropy(logits[i], torch.tensor(label))
        for logits, i, label in ((first, 0, 0), (second, 0, 1), (first, 1, 2), (second, 2, 3))
    ]
    expected = torch.stack([(own[0] + own[1]) / 2, own[2], own[3], torch.tensor(0.0)])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_what_is_not_shown_has_no_gradient(model, tasks, victims, pixels):
    rows = rows_of(victims[0], pixels).requires_grad_()
    arm = arm_of(TECOA, model, tasks, LABELS)
    (gradient,) = torch.autograd.grad(arm.distance(rows, LABELS).sum(), rows)
    assert (gradient.norm(dim=1) > 0).tolist() == [True, True, True, False]


def test_readings_are_those_of_all_tasks(model, tasks, victims, pixels):
    arm = arm_of(READINGS, model, tasks, LABELS)
    assert arm.targets is None and arm.anchor is None
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    moved = (pixels + 0.05 * noise).clamp(0, 1)
    rows, clean = (rows_of(victims[0], each) for each in (moved, pixels))
    apart = []
    for victim in victims:
        with torch.no_grad():
            p, q = (victim(each).double().softmax(1) for each in (pixels, moved))
        apart.append((p * (p / q).log()).sum(1))
    expected = torch.stack(apart).mean(0).float() + (rows - clean).square().sum(1)
    torch.testing.assert_close(arm.distance(rows, clean), expected, atol=1e-3, rtol=1e-3)


def test_the_whole_vector_is_what_fare_aligns(model, tasks):
    arm = arm_of(FARE, model, tasks, LABELS)
    rows = normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    torch.testing.assert_close(
        arm.distance(rows, rows.flip(0)), 2 - 2 * (rows * rows.flip(0)).sum(1)
    )
    assert arm.targets is None and arm.anchor is None and arm.told == {}


def test_arms_that_cannot_be(model, tasks):
    for name in ("FARF", "fare", "Dead", "random like TextD (paper)"):
        with pytest.raises(
            UserError, match=r"There is no arm .*: choose from FARE, TeCoA, readings"
        ):
            arm_of(name, model, tasks, LABELS)
    for name in {*ARMS, *PAPER_ARMS} - set(WITHOUT_LATENTS):
        with pytest.raises(UserError, match="aligns latents: give a labelled SAE, --sae SAE_DIR"):
            arm_of(name, model, tasks, LABELS)
