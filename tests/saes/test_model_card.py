"""The card says what the folder holds, and nothing else."""

import json

import pandas as pd
import yaml

from mm_sae_plugin import Study
from mm_sae_plugin.saes.model_card import model_card
from tests.saes.tiny import tiny_sae


def parts(folder):
    _, matter, text = model_card(folder, "ada/clip-sae", "sae").split("---\n", 2)
    return yaml.safe_load(matter), text


def rows(text):
    return {
        cells[0]: cells[1:]
        for line in text.splitlines()
        if line.startswith("| ")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }


def test_a_labelled_sae_has_all_its_figures(small_sae):
    study = Study.open(small_sae)
    matter, text = parts(small_sae)
    assert matter["library_name"] == "saelens"
    assert "sparse-autoencoder" in matter["tags"] and "base_model" not in matter
    table = rows(text)
    assert table["model"] == ["factorworld"]
    assert table["hooks"] == ["`vision.hook_normalized`, `text.hook_normalized`"]
    assert table["latents"] == ["64"] and table["active latents a row (k)"] == ["8"]
    for name, count in study.labels.class_counts.items():
        assert table[name][1] == str(count)
    # The same counts as in the table that goes along.
    classes = pd.read_parquet(small_sae / "modality.parquet")["class"].tolist()
    assert str(classes.count("ImgD")) == table["ImgD"][1]
    evaluation = json.loads((small_sae / "evaluation.json").read_text())
    for side in ("image", "text"):
        assert table[side][0] == f"{evaluation['explained_variance'][side]:.3f}"
        assert table[side][1] == f"{evaluation['l0'][side]:.1f}"
        assert table[side][3] == "500"
    assert "`carried`, `interval` rule with the cut-offs 0.35 and 0.65 at 95% confidence" in text
    assert "on 500 pairs of 500 images" in text
    assert "the activations that it was trained on" in text


def test_what_is_not_there_is_not_spoken_of(tmp_path):
    sae = tiny_sae(model_name="hf:openai/clip-vit-base-patch32")
    sae.cfg.metadata.hook_name_image = sae.cfg.metadata.hook_name_text = None
    sae.save_model(tmp_path)
    matter, text = parts(tmp_path)
    assert matter["base_model"] == "openai/clip-vit-base-patch32"
    assert "Reconstruction" not in text and "Modality" not in text and "None" not in text
    assert rows(text)["hooks"] == ["`vision.hook_proj`"]


def test_the_papers_rule_is_told_with_its_tau(tmp_path):
    record = {"score": "mean_of_ratios", "rule": "paper", "tau": 1.5, "n_pairs": 1200}
    sae = tiny_sae(modality={**record, "class_counts": {"ImgD": 16}})
    sae.save_model(tmp_path)
    text = parts(tmp_path)[1]
    assert "`mean_of_ratios`, `paper` rule with tau = 1.5, on 1,200 pairs of – images" in text
    assert "modality.parquet" not in text


def test_a_note_cannot_break_the_table(tmp_path):
    tiny_sae(dataset_path="a | b\n\n# c").save_model(tmp_path)
    assert "| pairs | a \\| b # c |" in parts(tmp_path)[1]
