"""The shipped models: intact, small, and as good as their cards say on held-out pairs."""

import json

import pytest
import torch

from mm_sae_plugin import UserError
from mm_sae_plugin.factorworld import FACTORS, SHARED_FACTORS, embedded
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS, load_embedded, read_card
from mm_sae_plugin.factorworld.recipes.evaluate_clip import (
    embed_held_out,
    modality_gap,
    retrieval_accuracy,
    zero_shot_accuracy,
)


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_shared_factors_are_recognised_zero_shot(name):
    model = load_embedded(name).model
    held_out = embed_held_out(model, 600, seed=4_321)  # type: ignore[arg-type]
    # The biased one was fine-tuned on few pairs, and guesses occupations from gender.
    least = 0.78 if name == "factorworld-biased" else 0.88
    for factor in SHARED_FACTORS:
        measured = zero_shot_accuracy(model, held_out, FACTORS[factor])  # type: ignore[arg-type]
        on_card = read_card(name)["figures"]["factors"][factor]["zero_shot"]
        # Other pairs than the card's: five standard errors of about 240 pairs at 95%.
        assert abs(measured - on_card) < 0.07, factor
        assert measured > least, factor
    assert retrieval_accuracy(held_out) > 0.9
    assert abs(modality_gap(held_out) - read_card(name)["figures"]["modality_gap"]) < 0.1


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_cards_say_what_was_measured(name):
    card = read_card(name)
    assert set(card["figures"]["factors"]) == set(FACTORS)
    assert (embedded.WEIGHTS_FOLDER / f"{name}.safetensors").stat().st_size < 10_000_000
    text = (embedded.WEIGHTS_FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card["sha256"][:16] in text
    assert card["final_losses"]


def test_unknown_words_are_taken():
    clip = load_embedded("factorworld")
    with torch.no_grad():
        row = clip.model.encode_text(clip.tokenizer("two red zeppelins"))  # type: ignore[operator]
    assert torch.isfinite(row).all()


def test_unknown_model_and_damaged_weights_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no embedded model 'clip'"):
        load_embedded("clip")
    for suffix in (".safetensors", ".json"):
        source = embedded.WEIGHTS_FOLDER / f"factorworld{suffix}"
        (tmp_path / source.name).write_bytes(source.read_bytes())
    with open(tmp_path / "factorworld.safetensors", "r+b") as file:
        file.truncate(1_000)
    monkeypatch.setattr(embedded, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(UserError, match="damaged"):
        load_embedded("factorworld")
    assert json.loads((tmp_path / "factorworld.json").read_text())["sha256"]
