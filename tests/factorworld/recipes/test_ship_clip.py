"""Shipping: the cards beside the weights are what the recipe writes, and lead back to it."""

import importlib.util
import re
import shutil

import pytest
import torch

from mm_sae_plugin.factorworld import embedded
from mm_sae_plugin.factorworld.architecture import build_model
from mm_sae_plugin.factorworld.embedded import load_embedded, read_card
from mm_sae_plugin.factorworld.recipes import ship_clip as recipe

CARD = "MODEL_CARD.md"
SHIPPED = embedded.WEIGHTS_FOLDER
SHIPPED_STAGE = read_card("factorworld")["stages"][0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where this test ships to, in place of the package."""
    for module in (recipe, embedded):
        monkeypatch.setattr(module, "WEIGHTS_FOLDER", tmp_path)
    return tmp_path


def test_model_card_is_written_from_the_json_cards(folder):
    for name in embedded.EMBEDDED_MODELS:
        shutil.copy(SHIPPED / f"{name}.json", folder)
    recipe._write_model_card()
    assert (folder / CARD).read_text("utf-8") == (SHIPPED / CARD).read_text("utf-8")


def test_modules_that_the_card_names_can_be_run():
    text = (SHIPPED / CARD).read_text("utf-8")
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    assert len(modules) == 4
    assert all(importlib.util.find_spec(module) for module in modules)


def test_a_checkpoint_becomes_a_model_that_loads(folder, monkeypatch):
    torch.manual_seed(0)
    learned = {f"model.{name}": value for name, value in build_model().state_dict().items()}
    checkpoint = folder / "checkpoint.pt"
    stage = dict.fromkeys(SHIPPED_STAGE, "1")
    torch.save({"learner": learned | {"heads.x": torch.ones(1)}, "stages": [stage]}, checkpoint)
    (folder / "log").write_text("losses 9.000 scale 1\nlosses 0.125 0.250 scale 14.3 0.2 s/step\n")
    figures = {"factors": {}, "n_pairs": 8, "world_seed": 1}
    figures |= {"retrieval_at_1_of_256": 0.5, "modality_gap": 0.25}
    monkeypatch.setattr(recipe, "evaluate_clip", lambda model, n_pairs: figures)
    recipe.ship_clip(recipe.ShipCLIPConfig(checkpoint, "factorworld", folder / "log", n_pairs=8))
    clip = load_embedded("factorworld")
    for name, value in clip.model.state_dict().items():
        assert torch.equal(value, learned[f"model.{name}"].half().float()), name
    assert read_card("factorworld")["final_losses"] == {"image_text": 0.125, "image_image": 0.25}
    assert "| retrieval at 1 of 256 | 50.0% |" in (folder / CARD).read_text("utf-8")
