"""Fine-tuned towers on disk: what is moved, what comes back, and folders that hold none."""

import copy
import json

import pytest
import torch

from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.towers import (
    CARD,
    WEIGHTS,
    ImageTower,
    read_tower,
    read_towers,
    save_tower,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model

TOLD = {"arm": "FARE", "seed": 3}


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def pictures():
    return list(Task.of_world("object", 8).pictures)


@pytest.fixture(scope="module")
def moved(model):
    """A copy whose image side is moved a little everywhere."""
    tower = ImageTower(copy.deepcopy(model))
    generator = torch.Generator().manual_seed(0)
    for value in tower.moved().values():
        value += 0.02 * torch.randn(value.shape, generator=generator)
    return tower


@pytest.fixture
def folder(model, moved, tmp_path):
    save_tower(tmp_path / "FARE-3", moved, model, TOLD)
    return tmp_path / "FARE-3"


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_all_that_an_image_goes_through_takes_gradients_and_nothing_else(model, pictures):
    tower = ImageTower(copy.deepcopy(model))
    parameters = dict(tower.model.named_parameters())
    moving = {name for name, each in parameters.items() if each.requires_grad}
    assert moving == {name for name in parameters if ".visual." in name} == set(tower.moved())
    tower(model.to_pixels(pictures)).square().sum().backward()
    reached = {name for name, each in parameters.items() if each.grad is not None}
    assert reached == moving


def test_what_is_frozen_is_of_no_use_to_images(model, pictures):
    tower = ImageTower(copy.deepcopy(model))
    pixels, captions = model.to_pixels(pictures), ["two red cars", "a small dog"]
    with torch.no_grad():
        image, text = tower(pixels), tower.model.encode_text(captions)
        for parameter in tower.parameters():
            if not parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
        assert tower(pixels).equal(image)
        assert not tower.model.encode_text(captions).allclose(text, atol=0.1)


@torch.no_grad()
def test_a_tower_comes_back_as_it_was_but_for_rounding(model, moved, folder, pictures):
    again, pixels = read_tower(folder).on(model), model.to_pixels(pictures)
    plain, trained, back = (
        each.encode_image(pixels, normalize=True) for each in (model, moved.model, again)
    )
    error = (back - trained).norm(dim=1).max()
    assert error < 0.01 and (plain - trained).norm(dim=1).min() > 20 * error
    captions = ["two red cars", "a small dog"]
    assert again.encode_text(captions).equal(model.encode_text(captions))


def test_the_encoder_itself_stays_to_the_bit(model, folder):
    before, id_before = bits(model), model.weights_id
    again = read_tower(folder).on(model)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    assert same(bits(model), before) and model.weights_id == id_before


def test_a_tower_has_an_id_and_a_name_of_its_own(model, folder):
    tower = read_tower(folder)
    again = tower.on(model)
    assert again.weights_id != model.weights_id
    assert again.weights_id == tower.on(model).weights_id
    assert again.cfg.model_name == "factorworld (fine-tuned)"
    assert (tower.path, tower.arm, tower.seed) == (folder, "FARE", 3)
    # It can be fine-tuned no further as if it were the encoder that it comes from.
    with pytest.raises(UserError, match="give the encoder that it belongs to"):
        tower.on(again)


def test_the_tower_of_another_encoder_is_refused(folder):
    other = load_model("factorworld-biased")
    with pytest.raises(
        UserError, match=r"was made from factorworld \(sha256:\w+\), not from factorworld-biased"
    ):
        read_tower(folder).on(other)


def test_damaged_weights_are_refused(model, folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 255
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=r"gone or damaged: .*run `mm-sae align` again"):
        read_tower(folder).on(model)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match="gone or damaged"):
        read_tower(folder).on(model)


@pytest.mark.parametrize("key", ["arm", "seed", "base", "base_weights_id", "sha256"])
def test_a_card_without_a_key_is_refused(folder, key):
    card = json.loads((folder / CARD).read_text())
    del card[key]
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(UserError, match=rf"tower\.json does not say '{key}': run `mm-sae align`"):
        read_tower(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{", b"[" * 100_000])
def test_a_card_that_is_no_json_is_refused(folder, content):
    (folder / CARD).write_bytes(content)
    with pytest.raises(UserError, match=r"tower\.json cannot be read \(.*run `mm-sae align` again"):
        read_tower(folder)


def test_a_card_of_another_kind_is_refused(folder):
    (folder / CARD).write_text('["arm", "seed"]')
    with pytest.raises(UserError, match="does not say 'arm'"):
        read_tower(folder)


def test_a_seed_that_is_no_number_is_refused(folder):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"seed": "first"}))
    with pytest.raises(UserError, match="no whole number as seed: run `mm-sae align` again"):
        read_tower(folder)


def test_a_folder_without_a_card_is_refused(folder):
    (folder / CARD).unlink()
    with pytest.raises(UserError, match=r"FARE-3 holds no tower\.json"):
        read_tower(folder)


def test_all_towers_of_a_folder_in_the_order_of_their_names(model, moved, tmp_path):
    for place in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match=r"holds no fine-tuned tower: give the folder"):
            read_towers(place)
    for name in ("b", "a", "c"):
        save_tower(tmp_path / name, moved, model, TOLD | {"arm": name})
    (tmp_path / "begun").mkdir()
    assert [tower.arm for tower in read_towers(tmp_path)] == ["a", "b", "c"]
