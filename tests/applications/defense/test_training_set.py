"""Pictures to train on: what they show, at which size, and that no evaluation sees them."""

import pytest
import torch
from PIL import Image

from mm_sae_plugin.applications.defense import training_set as module
from mm_sae_plugin.applications.defense.distances import NOT_SHOWN
from mm_sae_plugin.applications.defense.own_task import PictureFiles
from mm_sae_plugin.applications.defense.tasks import TASK_SEED, Task
from mm_sae_plugin.applications.defense.training_set import TRAINING_SEED, TrainingSet, pixels_of
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.models import load_model

N, NAMES = 40, ("object", "occupation", "backdrop")


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def tasks():
    return [Task.of_world(name, 1) for name in NAMES]


@pytest.fixture(scope="module")
def training(model, tasks):
    return TrainingSet.of_world(model, tasks, N)


def test_labels_are_what_is_drawn(training, tasks):
    world = FactorWorld(TRAINING_SEED)
    assert training.labels.shape == (N, len(NAMES))
    for index, row in enumerate(training.labels.tolist()):
        drawn = world.scene(index).drawn
        for task, number in zip(tasks, row, strict=True):
            if number == NOT_SHOWN:
                assert task.name not in drawn
            else:
                assert list(task.prompts)[number] == drawn[task.name]
    # A scene of things shows no occupation, one of people no object; all have a backdrop.
    missing = training.labels == NOT_SHOWN
    assert missing[:, 0].equal(~missing[:, 1]) and 0 < missing[:, 0].sum() < N
    assert not missing[:, 2].any()


def test_pixels_are_what_an_attack_sees_up_to_rounding(model, tasks, training):
    world = FactorWorld(TRAINING_SEED)
    victim = Victim(model, tasks[0].classes(model))
    pixels = victim.pixels([world.pair(index).image for index in range(N)])
    height, width = model.cfg.image_size
    assert training.images.dtype == torch.uint8 and training.images.shape == (N, 3, height, width)
    assert (training.images / 255 - pixels).abs().max() <= 0.5 / 255 + 1e-6


def test_the_same_is_drawn_again(model, tasks, training):
    again = TrainingSet.of_world(model, tasks, N)
    assert again.images.equal(training.images) and again.labels.equal(training.labels)
    other = TrainingSet.of_world(model, tasks, N, TRAINING_SEED + 1)
    assert not other.images.equal(training.images)
    fewer = TrainingSet.of_world(model, tasks, 5)
    assert fewer.images.equal(training.images[:5]) and fewer.labels.equal(training.labels[:5])


def test_no_picture_is_one_of_the_evaluation(model, training):
    judged = Task.of_world("object", N)
    assert TRAINING_SEED != TASK_SEED
    seen = {bytes(each.flatten().numpy()) for each in training.images}
    assert len(seen) == N
    assert not seen & {bytes(e.flatten().numpy()) for e in pixels_of(model, judged.pictures)}


def test_a_picture_that_is_none_is_named_whichever_check_looks_first(model, tmp_path):
    for index in range(5):
        Image.new("RGB", (9, 7)).save(tmp_path / f"{index}.png")
    (tmp_path / "4.png").write_text("no picture")
    files = PictureFiles(tmp_path, tuple(f"{index}.png" for index in range(5)))
    # A check of the elements' types opens one at random, so once would tell little.
    for _ in range(20):
        with pytest.raises(UserError, match=r"4\.png' cannot be read"):
            pixels_of(model, files)


def test_more_than_a_batch_of_pictures_keeps_its_order(model, training, monkeypatch):
    world = FactorWorld(TRAINING_SEED)
    monkeypatch.setattr(module, "_BATCH", 3)
    found = pixels_of(model, (world.pair(index).image for index in range(10)))
    assert found.equal(training.images[:10])


def test_a_task_of_ones_own_is_one_column(model):
    pictures = tuple(Image.new("RGB", (60, 90), (grey,) * 3) for grey in (0, 51, 255))
    prompts = {"dark": ["dark"], "light": ["light"]}
    training = TrainingSet.of_task(
        model, Task("grey", pictures, ("dark", "dark", "light"), prompts)
    )
    assert training.labels.tolist() == [[0], [0], [1]]
    for image, grey in zip(training.images, (0, 51, 255), strict=True):
        assert (image == grey).all()
