"""What an edit is: plain numbers, which latents it means, and what it refuses."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.choice import typical_codes
from mm_sae_plugin.stats import ModalityStatistics


def test_makers_say_what_they_do(study):
    edit = FeatureEdit.add(study, 1.5, latents=[7, 3, 7])
    (step,) = edit.steps
    assert (step.operation, step.latents, step.amount, step.unit) == ("add", (3, 7), 1.5, "typical")
    assert edit.latents == (3, 7)
    assert (edit.sae_id, edit.weights_id) == (study.sae_id, study.model.weights_id)
    assert FeatureEdit.ablate(study, latents=4).steps[0].amount == 0
    assert FeatureEdit.none(study).steps == ()


def test_classes_masks_and_concepts_become_latents(study):
    labels = study.labels
    edit = FeatureEdit.ablate(study, classes=["ImgD", "CrossD"])
    wanted = sorted([*labels.latents("ImgD"), *labels.latents("CrossD")])
    assert wanted and edit.latents == tuple(wanted)
    mask = torch.tensor([name == "TextD" for name in labels.classes])
    assert FeatureEdit.ablate(study, mask=mask) == FeatureEdit.ablate(study, classes="TextD")
    assert FeatureEdit.ablate(study, mask=mask.tolist()).latents == tuple(labels.latents("TextD"))
    concept = next(iter(labels.concepts.values()))
    for member in concept.latents:
        assert FeatureEdit.ablate(study, concepts=[member]).latents == concept.latents


def test_edits_compose_in_order_and_survive_a_file(study, tmp_path):
    edit = FeatureEdit.ablate(study, latents=[1]) + FeatureEdit.clamp(study, 0, 0.5, latents=[2])
    edit = (edit + FeatureEdit.replace(study, text="two red cars", latents=[5])).with_relative_norm(
        0.3
    )
    assert [step.operation for step in edit.steps] == ["scale", "clamp", "replace"]
    edit.save(tmp_path / "edit.json")
    assert FeatureEdit.load(tmp_path / "edit.json", study) == edit
    assert FeatureEdit.none(study) + edit == edit == edit + FeatureEdit.none(study)


def test_a_typical_activation_is_the_mean_where_a_latent_fires(study):
    codes = study.feature_map.encode(study.store.image_rows(), "image").double()
    stats = study.labels.statistics
    on_image = stats.channel("image") >= stats.channel("text")
    latent = int(on_image.nonzero()[0])
    fired = codes[codes[:, latent] > 0, latent]
    assert typical_codes(study, (latent,))[0] == pytest.approx(float(fired.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ({}, "Say which latents in one way, .*; got none"),
        ({"latents": [1], "classes": "ImgD"}, "got latents, classes"),
        ({"latent": [1]}, "got latent"),
        ({"latents": [192]}, "There is no latent 192: this SAE has 192, numbered from 0 to 191"),
        ({"latents": [1.5]}, r"whole numbers, not 1\.5"),
        ({"latents": []}, "No latent was given"),
        ({"latents": "3"}, "whole numbers, not"),
        ({"classes": 5}, "classes must be a class or several, not an int"),
        ({"classes": []}, "No class was given: give one or several of ImgD"),
        ({"classes": "Image"}, "There is no class 'Image': choose of ImgD"),
        ({"mask": [True]}, "a boolean for each of the 192 latents"),
        ({"mask": [False] * 192}, "The mask leaves no latent"),
    ],
)
def test_wrong_latents_get_one_sentence(study, which, told):
    with pytest.raises(UserError, match=told):
        FeatureEdit.ablate(study, **which)


def test_a_class_without_latents_is_told(study, monkeypatch):
    crossed = replace(study.labels, classes=["CrossD"] * study.labels.n_features)
    monkeypatch.setitem(study.__dict__, "labels", crossed)
    with pytest.raises(UserError, match=r"No latent of .* is ImgD or Dead: nothing to edit"):
        FeatureEdit.ablate(study, classes=["ImgD", "Dead"])


def test_a_latent_that_never_fired_has_no_typical_activation(study, monkeypatch):
    stats = ModalityStatistics(study.labels.n_features)
    codes = torch.ones(20, stats.n_features)
    codes[:, 7] = 0
    stats.update(codes, codes, torch.arange(20))
    silent = replace(study.labels, statistics=stats)
    monkeypatch.setitem(study.__dict__, "labels", silent)
    with pytest.raises(UserError, match="Latent 7 never fired on the store"):
        FeatureEdit.add(study, 1.0, latents=[3, 7])
    assert FeatureEdit.add(study, 1.0, unit="code", latents=[7]).latents == (7,)


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize("amount", [float("nan"), float("inf"), "much", True])
def test_amounts_are_numbers(study, amount):
    with pytest.raises(UserError, match="must be a finite number"):
        FeatureEdit.add(study, amount, latents=[1])
    with pytest.raises(UserError, match="must be 0 or more"):
        FeatureEdit.set(study, -1.0, latents=[1])
    with pytest.raises(UserError, match="low <= high"):
        FeatureEdit.clamp(study, 2.0, 1.0, latents=[1])
    with pytest.raises(UserError, match="unit must be"):
        FeatureEdit.add(study, 1.0, unit="much", latents=[1])  # pyright: ignore[reportArgumentType]


def test_an_edit_of_another_sae_is_refused_naming_both(study, tmp_path):
    edit = FeatureEdit.ablate(study, latents=[1])
    other = replace(edit, sae_id="sha256:0123456789abcdef")
    with pytest.raises(UserError, match=f"sha256:0123456789abcdef.*{study.sae_id}"):
        other.check_study(study)
    with pytest.raises(UserError, match="mean something else"):
        _ = edit + other
    other.save(tmp_path / "other.json")
    with pytest.raises(UserError, match="sha256:0123456789abcdef"):
        FeatureEdit.load(tmp_path / "other.json", study)
    with pytest.raises(UserError, match="for the encoder sha256:fff"):
        replace(edit, weights_id="sha256:fff").check_study(study)
    with pytest.raises(UserError, match="do not add up"):
        _ = edit + edit.with_relative_norm(0.5)


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.pop("format"),
        lambda content: content["steps"][0].update(operation="boil"),
        lambda content: content["steps"][0].update(latents=["one"]),
        lambda content: content["steps"][0].update(amount=float("nan")),
        lambda content: content["steps"][0].update(colour="red"),
        lambda content: content.pop("steps"),
        lambda content: content.update(steps=[1]),
        lambda content: content.update(steps="abc"),
        lambda content: content.update(relative_norm=float("nan")),
        lambda content: content.update(relative_norm="x"),
        lambda content: content.update(relative_norm=-1),
        lambda content: content["steps"][0].update(latents=[True]),
        lambda content: content["steps"][0].update(operation="set", amount=-4),
        lambda content: content["steps"][0].update(operation="clamp"),
        lambda content: content["steps"][0].update(operation="clamp", amount=5, upper=2),
    ],
)
def test_damaged_presets_are_told(study, tmp_path, spoil):
    content = FeatureEdit.ablate(study, latents=[1]).to_dict()
    content = json.loads(json.dumps(content))
    spoil(content)
    (tmp_path / "edit.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is no edit|is damaged"):
        FeatureEdit.load(tmp_path / "edit.json")
    with pytest.raises(UserError, match="holds no edit"):
        FeatureEdit.load(tmp_path / "gone.json")


def test_a_preset_that_is_nested_without_end_is_told(tmp_path):
    for content in ("[" * 100_000, '{"format": "mm_sae_plugin edit", "steps": ' + "[" * 100_000):
        (tmp_path / "edit.json").write_text(content)
        with pytest.raises(UserError, match=r"edit\.json holds no edit \(nested too deeply"):
            FeatureEdit.load(tmp_path / "edit.json")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UserError, match="This edit is damaged"):
        FeatureEdit.from_dict({"format": "mm_sae_plugin edit", "steps": deep, "sae_id": ""})


def test_a_preset_of_a_latent_that_is_not_there_is_told(study, tmp_path):
    edit = FeatureEdit.ablate(study, latents=[1])
    edit = replace(edit, steps=(replace(edit.steps[0], latents=(99_999,)),))
    edit.save(tmp_path / "edit.json")
    with pytest.raises(UserError, match=r"There is no latent 99999: this SAE has 192"):
        FeatureEdit.load(tmp_path / "edit.json", study)


@pytest.mark.usefixtures("any_types")
def test_numbers_of_other_libraries_are_numbers(study):
    edit = FeatureEdit.add(study, float(np.float32(0.5)), latents=[3])
    given: Any = np.float32(0.5)
    assert FeatureEdit.add(study, given, latents=torch.tensor(3)) == edit
    given = np.int64(2)
    assert FeatureEdit.scale(study, given, latents=[3]) == FeatureEdit.scale(study, 2, latents=[3])
