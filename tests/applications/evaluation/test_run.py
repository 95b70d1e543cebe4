"""An evaluation gathers its parts, keeps what is finished, and says what could not be measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mm_sae_plugin.applications.claims.claim import Finding
from mm_sae_plugin.applications.evaluation import parts
from mm_sae_plugin.applications.evaluation.config import PARTS, EvaluateConfig
from mm_sae_plugin.applications.evaluation.parts import Measured
from mm_sae_plugin.applications.evaluation.reading import (
    evaluation_of,
    read_evaluation,
    read_latents,
)
from mm_sae_plugin.applications.evaluation.run import run_evaluation
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study import Study


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Parts that answer at once, and the names of those that were asked."""
    names: list[str] = []

    def part(name: str):
        def measure(study: Study, cfg: EvaluateConfig) -> Measured:
            names.append(name)
            if name == "causal" and cfg.seed == 7:
                raise UserError("No latent can be removed.")
            n = study.labels.n_features
            claim = Finding("C1", None, "toy", "undecided", "Who knows.").record()
            columns = {f"{name}_value": np.arange(n) * 0.5} if name != "monosemanticity" else {}
            return Measured({"seed": cfg.seed}, columns, [claim] if name == "nulls" else [])

        return measure

    monkeypatch.setattr(parts, "PART_OF", {name: part(name) for name in PARTS})
    return names


def config(sae: Path, out: Path, **settings) -> EvaluateConfig:
    return EvaluateConfig(sae=sae, out=out, n_workers=1, **settings)


def test_all_parts_stand_in_one_record_and_one_table(asked, small_sae, tmp_path):
    study = Study.open(small_sae)
    lines: list[str] = []
    found = run_evaluation(study, config(small_sae, tmp_path), lines.append)
    assert asked == list(PARTS) and len(lines) == len(PARTS)
    record = json.loads((tmp_path / "evaluation.json").read_text("utf-8"))
    assert record == found.record == read_evaluation(tmp_path)
    assert list(record["parts"]) == list(PARTS)
    assert record["sae"]["sae_id"] == study.sae_id
    assert record["labels"]["class_counts"] == study.labels.class_counts
    assert [claim["claim"] for claim in record["claims"]] == ["C1"]
    assert record["not_measured"] == {} and set(record["seconds"]) == set(PARTS)
    latents = read_latents(tmp_path)
    pd.testing.assert_frame_equal(latents, found.latents)
    assert list(latents["class"]) == study.labels.classes
    assert latents["causal_value"].tolist() == [0.5 * i for i in range(len(latents))]
    assert evaluation_of(study, tmp_path) == record


def test_what_is_finished_is_not_measured_again(asked, small_sae, tmp_path):
    study = Study.open(small_sae)
    run_evaluation(study, config(small_sae, tmp_path, parts=("nulls",)))
    run_evaluation(study, config(small_sae, tmp_path))
    assert asked == list(PARTS)
    # Other comparators are another question to one part alone.
    run_evaluation(study, config(small_sae, tmp_path, against=("nmf",)))
    assert asked[4:] == ["monosemanticity"]
    run_evaluation(study, config(small_sae, tmp_path, seed=1, parts=("nulls", "causal")))
    assert asked[5:] == ["nulls", "causal"]


def test_a_part_that_cannot_be_measured_says_why_and_is_tried_again(asked, small_sae, tmp_path):
    study = Study.open(small_sae)
    lines: list[str] = []
    cfg = config(small_sae, tmp_path, seed=7)
    record = run_evaluation(study, cfg, lines.append).record
    assert record["not_measured"] == {"causal": "No latent can be removed."}
    assert "causal" not in record["parts"] and "nulls" in record["parts"]
    assert any("not measured: No latent can be removed." in line for line in lines)
    run_evaluation(study, cfg)
    assert asked[4:] == ["causal"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": ("nulls", "luck")}, "There is no part 'luck': choose from nulls, stability"),
        ({"parts": ()}, "No part is to be measured"),
        ({"seed": -1}, r"seed must be a whole number from 0, below 2\^63, not -1"),
        ({"n_workers": 0}, "--n-workers must be at least 1, not 0"),
    ],
)
def test_settings_without_meaning_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        EvaluateConfig(**{"sae": tmp_path, **settings})


def test_evaluations_of_another_sae_or_other_labels_are_refused(asked, small_sae, tmp_path):
    study = Study.open(small_sae)
    run_evaluation(study, config(small_sae, tmp_path))
    path = tmp_path / "evaluation.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(record | {"labels": {"class_counts": {}}}), encoding="utf-8")
    with pytest.raises(UserError, match=r"is of other labels of .* than it has now"):
        evaluation_of(study, tmp_path)
    path.write_text(json.dumps(record | {"sae": {"sae_id": "sha256:0"}}), encoding="utf-8")
    with pytest.raises(UserError, match=r"is of the SAE sha256:0, and .* is sha256:"):
        evaluation_of(study, tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"against": ("nothing",)}, "no comparator 'nothing'"),
        ({"image_encoder": "factorworld"}, "is the encoder that is interpreted"),
        ({"image_encoder": "tfidf-words"}, "reads captions alone"),
        ({"image_encoder": "open_clip:ViT"}, "no model 'open_clip:ViT'"),
        ({"beside": "nothing"}, "no model 'nothing'"),
    ],
)
def test_a_rival_or_a_judge_that_cannot_be_had_is_refused_first(
    asked, small_sae, tmp_path, settings, told
):
    with pytest.raises(UserError, match=told):
        run_evaluation(Study.open(small_sae), config(small_sae, tmp_path / "out", **settings))
    assert not asked


def test_parts_that_are_not_asked_for_again_stay(asked, small_sae, tmp_path):
    study = Study.open(small_sae)
    run_evaluation(study, config(small_sae, tmp_path, against=("pca",)))
    del asked[:]
    found = run_evaluation(study, config(small_sae, tmp_path, parts=("nulls",), seed=3))
    assert asked == ["nulls"]
    assert list(found.record["parts"]) == list(PARTS)
    assert found.record["parts"]["nulls"] == {"seed": 3}
    assert {"nulls_value", "causal_value"} <= set(found.latents.columns)
