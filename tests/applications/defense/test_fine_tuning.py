"""A tower for an arm and a seed: written once, repeatable to the last digit, resumed if broken."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mm_sae_plugin.applications.defense import fine_tuning as module
from mm_sae_plugin.applications.defense.alignment import CHECKPOINT
from mm_sae_plugin.applications.defense.alignment_config import AlignmentConfig
from mm_sae_plugin.applications.defense.arms import FARE, RANDOM, TECOA
from mm_sae_plugin.applications.defense.fine_tuning import FineTuning, folder_of
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.towers import CARD, WEIGHTS
from mm_sae_plugin.applications.defense.training_set import TrainingSet
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model
from mm_sae_plugin.study import Study

CFG = AlignmentConfig(
    n_steps=3,
    batch_size=4,
    inner_steps=1,
    warm_up_steps=1,
    n_scale_batches=1,
    checkpoint_every=1,
)


class Stop(Exception):
    """As a run is broken off by whatever it is."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Weights are the same to the last digit on one thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tuning():
    model = load_model("factorworld")
    tasks = [Task.of_world("object", 1), Task.of_world("occupation", 1)]
    return FineTuning(model, tasks, TrainingSet.of_world(model, tasks, 16), CFG)


@pytest.fixture(scope="module")
def whole(tuning, tmp_path_factory):
    """An uninterrupted run, with the encoder's weights from before."""
    before = {name: value.clone() for name, value in tuning.model.state_dict().items()}
    return tuning.tower(TECOA, 1, tmp_path_factory.mktemp("whole")), before


@pytest.fixture
def steps(monkeypatch):
    """Counts steps; the one whose number is put into it is not taken."""
    taken, real = {"n": 0, "last": None}, torch.optim.AdamW.step

    def step(self, *given, **named):
        if taken["n"] == taken["last"]:
            raise Stop
        taken["n"] += 1
        return real(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return taken


def weights(tower):
    return load_file(tower.path / WEIGHTS)


def equal(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_a_tower_lies_where_its_arm_and_seed_say(tuning, whole):
    tower, _ = whole
    assert tower.path.name == "TeCoA-1" and tower.path == folder_of(TECOA, 1, tower.path.parent)
    assert sorted(each.name for each in tower.path.iterdir()) == [CARD, WEIGHTS]
    assert (tower.arm, tower.seed, tower.card["base"]) == (TECOA, 1, "factorworld")
    assert tower.card["tasks"] == ["object", "occupation"] and tower.card["n_images"] == 16
    assert tower.card["alignment"]["n_steps"] == 3 and tower.card["alignment"]["seed"] == 1
    assert tower.card["losses"]["first"] > 0 and tower.card["seconds"] > 0
    assert tower.on(tuning.model).weights_id != tuning.model.weights_id


def test_names_of_folders_need_no_quotes(tmp_path):
    assert folder_of(RANDOM, 2, tmp_path) == tmp_path / "random-like-TextD-2"
    assert folder_of("ImgD (paper)", 0, tmp_path) == tmp_path / "ImgD-paper-0"


def test_the_encoder_stays_as_it_was(tuning, whole):
    _, before = whole
    assert equal(tuning.model.state_dict(), before)


def test_every_weight_of_the_image_side_moves(tuning, whole):
    tower, before = whole
    moved = weights(tower)
    images = {
        n.removeprefix("clip.") for n, _ in tuning.model.named_parameters() if ".visual." in n
    }
    assert moved.keys() == images
    assert all(not value.equal(before[f"clip.{name}"].half()) for name, value in moved.items())


def test_what_is_there_is_not_trained_again(tuning, whole, monkeypatch):
    tower, _ = whole
    monkeypatch.setattr(module, "align", lambda *_: pytest.fail("it was trained again"))
    stamps = {each.name: each.stat().st_mtime_ns for each in tower.path.iterdir()}
    again = tuning.tower(TECOA, 1, tower.path.parent)
    assert again == tower
    assert {each.name: each.stat().st_mtime_ns for each in tower.path.iterdir()} == stamps


def test_other_settings_are_refused(tuning, whole):
    tower, _ = whole
    longer = replace(tuning, cfg=replace(CFG, n_steps=4))
    fewer = TrainingSet(tuning.training.images[:8], tuning.training.labels[:8])
    other = replace(tuning, model=load_model("factorworld-biased"))
    flipped = replace(tuning.training, images=tuning.training.images.flip(0))
    pictures = (replace(tuning, training=each) for each in (fewer, flipped))
    for changed in (longer, *pictures, other):
        with pytest.raises(
            UserError, match=r"TeCoA-1 holds a tower of other settings \(.*\): give another"
        ):
            changed.tower(TECOA, 1, tower.path.parent)
    # Of the seed only the one that is asked for counts.
    assert replace(tuning, cfg=replace(CFG, seed=7)).tower(TECOA, 1, tower.path.parent) == tower


def test_it_is_repeatable_to_the_last_digit(tuning, whole, tmp_path):
    tower, _ = whole
    again = tuning.tower(TECOA, 1, tmp_path)
    assert equal(weights(again), weights(tower))
    assert again.card["losses"] == tower.card["losses"]
    other = tuning.tower(TECOA, 2, tmp_path)
    assert other.path != again.path and not equal(weights(other), weights(again))


def test_a_run_that_was_broken_off_goes_on_as_it_would_have(tuning, whole, tmp_path, steps):
    tower, _ = whole
    steps["last"] = 2
    with pytest.raises(Stop):
        tuning.tower(TECOA, 1, tmp_path)
    path = folder_of(TECOA, 1, tmp_path)
    assert [each.name for each in path.iterdir()] == [CHECKPOINT]
    steps |= {"n": 0, "last": None}
    resumed = tuning.tower(TECOA, 1, tmp_path)
    assert steps["n"] == 1 and equal(weights(resumed), weights(tower))
    assert resumed.card["losses"] == tower.card["losses"]
    assert not (path / CHECKPOINT).exists()


def test_a_run_does_not_go_on_with_other_pictures_or_another_encoder(tuning, tmp_path, steps):
    steps["last"] = 1
    with pytest.raises(Stop):
        tuning.tower(FARE, 0, tmp_path)
    steps["last"] = None
    fewer = TrainingSet(tuning.training.images[:8], tuning.training.labels[:8])
    for changed in (
        replace(tuning, training=fewer),
        replace(tuning, model=load_model("factorworld-biased")),
        replace(tuning, cfg=replace(CFG, lr=0.1)),
    ):
        with pytest.raises(UserError, match="FARE-0 holds a training with other settings: give"):
            changed.tower(FARE, 0, tmp_path)


def test_a_checkpoint_that_is_none_is_refused(tuning, tmp_path):
    path = folder_of(FARE, 0, tmp_path)
    path.mkdir()
    (path / CHECKPOINT).write_bytes(b"half of one")
    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged: remove it"):
        tuning.tower(FARE, 0, tmp_path)


def test_latents_are_named_with_their_sae(tuning, small_sae, tmp_path):
    study = Study.open(small_sae)
    tower = replace(tuning, model=study.model, study=study).tower("CrossD", 0, tmp_path)
    card = json.loads((tower.path / CARD).read_text())
    n_latents = study.labels.classes.count("CrossD")
    assert card["latents"] == {"n_latents": n_latents} and card["sae_id"] == study.sae_id
    # An arm without latents is the same with an SAE and without.
    fare = replace(tuning, model=study.model, study=study).tower(FARE, 0, tmp_path)
    assert fare.card["sae_id"] is None and tuning.tower(FARE, 0, tmp_path) == fare


def test_more_images_a_step_than_there_are(tuning, tmp_path):
    few = TrainingSet(tuning.training.images[:3], tuning.training.labels[:3])
    with pytest.raises(UserError, match="A batch of 4 is more than the 3 images: "):
        replace(tuning, training=few).tower(FARE, 0, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lr": -1e-3}, "lr must be a finite number above 0, not -0.001"),
        ({"lr": 0.0}, "lr must be a finite number above 0, not 0"),
        ({"lr": float("nan")}, "lr must be a finite number above 0, not nan"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number from 0, not -1"),
        ({"anchor": float("inf")}, "anchor must be a finite number from 0, not inf"),
        ({"n_steps": 0}, "n_steps must be a whole number from 1, not 0"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1, not 0"),
        ({"n_accumulated": 0}, "n_accumulated must be a whole number from 1, not 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole number from 1, not 0"),
        ({"inner_steps": -1}, "inner_steps must be a whole number from 0, not -1"),
        ({"warm_up_steps": -1}, "warm_up_steps must be a whole number from 0, not -1"),
        ({"n_scale_batches": -1}, "n_scale_batches must be a whole number from 0, not -1"),
        ({"seed": -1}, r"seed must be a whole number from 0, below 2\^63, not -1"),
        ({"eps": 1.5}, "eps must be from 0 to 1"),
        ({"n_accumulated": 3}, "A batch of 4 cannot be cut into 3 equal parts"),
    ],
)
def test_settings_that_train_nothing_are_refused(given, told):
    with pytest.raises(UserError, match=told):
        replace(CFG, **given)
