"""The whole measurement on a generator that was never trained: what is written and shown."""

import json
from xml.etree import ElementTree

import pytest
import torch

pytest.importorskip("diffusers")

from mm_sae_plugin.applications.steering.config import SteeringConfig
from mm_sae_plugin.applications.steering.run import run_evaluation
from mm_sae_plugin.cli import main
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import classifier
from mm_sae_plugin.factorworld.classifier import FactorClassifier
from mm_sae_plugin.factorworld.generator import folder, save_generator
from mm_sae_plugin.report.steering import steering_figure
from tests.factorworld.generator.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    path = tmp_path_factory.mktemp("steering") / "generator"
    save_generator(tiny_pipeline(), path)
    return path


@pytest.fixture
def untrained(monkeypatch):
    """A reader without training, and a generator of two steps."""
    torch.manual_seed(0)
    reader = FactorClassifier().eval()
    monkeypatch.setattr(classifier, "load_classifier", lambda: reader)
    for name in ("num_inference_steps", "prior_num_inference_steps"):
        monkeypatch.setitem(folder.DEFAULTS, name, 2)


def test_the_command_writes_figures_and_a_drawing(study, generator, untrained, tmp_path, capsys):
    few = ["--n-cases", "2", "--n-seeds", "1", "--strengths", "0.5", "--n-faithful", "1"]
    where = ["--sae", str(study.path), "--generator", str(generator), "--out", str(tmp_path / "o")]
    main(["steering-eval", *few, *where])
    told = capsys.readouterr().out
    record = json.loads((tmp_path / "o/steering.json").read_text())
    assert {"faithful", "arms", "claim_c6"} <= set(record)
    assert record["claim_c6"]["verdict"] in ("supported", "not supported", "undecided")
    assert f"claim_c6: {record['claim_c6']['verdict']}. " in told
    assert all(0 <= entry["share"] <= 1 and entry["n"] for entry in record["faithful"].values())
    assert record["generator"]["source"] == generator.name
    assert record["generator"]["weights"].keys() >= {"unet", "prior_prior"}
    assert record["store_key"] == study.store.manifest.key
    names = [row["name"] for row in record["arms"]]
    assert names[:2] == ["none", "prompt edit"] and len(names) == len(set(names))
    for name in ("gap", "reconstruction", "blend"):
        assert name in told and name in names
    for row in record["arms"]:
        assert {"name", "strength", "control", "kept", "ssim", "n"} <= set(row) and row["n"] == 2
    assert [row["name"] for row in record["slopes"]] == names[2:]
    for row in record["slopes"]:
        for share in (row["control"], row["kept"]):
            assert share["low"] <= share["value"] <= share["high"]
    drawing = ElementTree.parse(tmp_path / "o/steering.svg").getroot()
    words = [element.text for element in drawing.iter() if element.tag.endswith("text")]
    assert set(names) - {"none"} <= set(words)
    assert steering_figure(record) == (tmp_path / "o/steering.svg").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_cases": 1}, "the least that an interval can be made of"),
        ({"n_cases": 10**9}, "1,000,000,000 cases would take days: give 1,000 at most"),
        ({"n_seeds": 10**6}, "1,000,000 seeds would take days"),
        ({"n_faithful": 0}, "n_faithful must be at least 1, not 0"),
        ({"n_faithful": -3}, "n_faithful must be at least 1, not -3"),
        ({"n_faithful": 10**6}, "would take days: give 10,000 at most"),
        ({"strengths": ()}, "Strengths must be finite and above 0"),
        ({"strengths": (0.0,)}, "Strengths must be finite and above 0"),
        ({"strengths": (0.5, float("nan"))}, "Strengths must be finite and above 0"),
        ({"strengths": (float("inf"),)}, "Strengths must be finite and above 0"),
        ({"strengths": (0.5, 1.0, 0.5)}, "A strength is given twice"),
    ],
)
def test_settings_without_a_meaning_are_told(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        SteeringConfig(tmp_path, **settings)


def test_an_sae_of_another_encoder_is_refused(study, generator, tmp_path, monkeypatch):
    monkeypatch.setattr(study.sae.cfg.metadata, "model_name", "ViT-B-32")
    with pytest.raises(UserError, match="draws from the joint space of 'factorworld', and this"):
        run_evaluation(study, SteeringConfig(tmp_path), generator)


@pytest.mark.parametrize("part", ["prior_text_encoder", "prior_image_encoder"])
def test_a_generator_with_another_encoder_is_refused(study, untrained, tmp_path, part):
    """Whichever tower it is: the prompt comes in by one, and the SAE reads the other."""
    pipeline = tiny_pipeline()
    with torch.no_grad():
        for parameter in getattr(pipeline, part).parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator()) * 0.1)
    save_generator(pipeline, tmp_path / "changed")
    modality = part.split("_")[1]
    told = rf"trained on factorworld \(.*\), but the {modality} encoder of Kandinsky\w+ is .*sha256"
    with pytest.raises(UserError, match=told):
        run_evaluation(study, SteeringConfig(tmp_path / "out"), tmp_path / "changed")
