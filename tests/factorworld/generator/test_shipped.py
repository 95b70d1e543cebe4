"""The generator of the package draws what it is asked, and knows its own weights."""

import json
import shutil

import pytest

pytest.importorskip("diffusers")

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.factorworld.classifier import load_classifier
from mm_sae_plugin.factorworld.generator import GENERATOR_FOLDER, load_generator
from mm_sae_plugin.factorworld.generator.folder import card_of
from mm_sae_plugin.factorworld.recipes.evaluate_generator import draw

ASKED = [
    {"count": "two", "size": "big", "colour": "red", "object": "car", "place": "left"},
    {"count": "one", "size": "small", "colour": "blue", "object": "star", "place": "right"},
    {"count": "three", "colour": "green", "object": "mushroom", "lighting": "night"},
    {"count": "one", "size": "big", "colour": "purple", "object": "cup", "ground": "snow"},
]


def test_pictures_show_what_prompts_say():
    from mm_sae_plugin.factorworld.captions import write_caption

    pictures = draw(load_generator(), [write_caption(said) for said in ASKED], seed=3)
    answers = load_classifier().answers(pictures)
    names = list(FACTORS)
    right = [
        FACTORS[name].values[row[names.index(name)]] == value
        for said, row in zip(ASKED, answers, strict=True)
        for name, value in said.items()
    ]
    # Every one was right when it was shipped.
    assert sum(right) >= len(right) - 1


def test_it_is_small_and_has_the_weights_of_its_card():
    files = [path for path in GENERATOR_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30_000_000
    card = json.loads(card_of(GENERATOR_FOLDER).read_text())
    assert len(card["sha256"]) == sum(path.suffix == ".safetensors" for path in files) == 5


def test_damaged_weights_are_named(tmp_path):
    folder = tmp_path / "generator"
    shutil.copytree(GENERATOR_FOLDER, folder)
    shutil.copy(card_of(GENERATOR_FOLDER), card_of(folder))
    path = folder / "movq" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"movq.* is missing or damaged"):
        load_generator(folder)
