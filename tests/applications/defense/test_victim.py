"""What is attacked, and on what."""

import pytest
import torch
from PIL import Image

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.gradient_attacks import pgd
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.victim import PixelScale, Victim
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP, load_model


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def task():
    return Task.of_world("object", 24)


@pytest.fixture(scope="module")
def victim(model, task):
    return Victim(model, task.classes(model))


def test_pixels_are_what_the_preprocessing_makes_of_them(model, victim, task):
    pixels = victim.pixels(task.pictures)
    assert pixels.shape == (24, 3, 48, 48) and 0 <= pixels.min() < 0.2 and 0.8 < pixels.max() <= 1
    torch.testing.assert_close(
        victim.scale.inputs(pixels), model.to_pixels(list(task.pictures)), atol=1e-5, rtol=0
    )
    plain = model.encode_image(list(task.pictures), normalize=True)
    torch.testing.assert_close(victim.vectors(pixels), plain, atol=1e-4, rtol=0)


def test_the_embedded_model_is_good_until_it_is_attacked(victim, task):
    pixels, labels = victim.pixels(task.pictures), task.indices
    with torch.no_grad():
        assert (victim(pixels).argmax(1) == labels).float().mean() > 0.85
    found = pgd(victim, pixels, labels, Budget(4 / 255), 10)
    assert found.fooled.float().mean() > 0.6


def test_attacks_go_through_a_defense(model, task):
    seen = []

    def defense(rows):
        seen.append(rows.requires_grad)
        return rows.flip(1)

    victim = Victim(model, task.classes(model).flip(1), defense)
    bare = Victim(model, task.classes(model))
    pixels = bare.pixels(task.pictures)
    torch.testing.assert_close(victim(pixels), bare(pixels), atol=1e-4, rtol=0)
    pgd(victim, pixels, task.indices, Budget(0.01), 1)
    assert any(seen)


def test_a_preprocessing_that_is_no_line_is_refused(model):
    preprocess = model.preprocess
    odd = HookedCLIP.wrap(model.clip, model.tokenizer, lambda picture: preprocess(picture) ** 2)
    with pytest.raises(UserError, match="more than resizing and a mean"):
        PixelScale.of(odd)


def test_no_task_that_is_none(task):
    with pytest.raises(UserError, match="no task 'objects': choose from object"):
        Task.of_world("objects", 4)
    picture = Image.new("RGB", (8, 8))
    with pytest.raises(UserError, match="'cat' of the task 'pets' has no prompt: choose from dog"):
        Task("pets", (picture,), ("cat",), {"dog": ["a dog"], "cow": ["a cow"]})
    with pytest.raises(UserError, match="one class only"):
        Task("pets", (picture,), ("dog",), {"dog": ["a dog"]})
    with pytest.raises(UserError, match="has no pictures"):
        Task("pets", (), (), {"dog": ["a dog"], "cow": ["a cow"]})
