"""The classifier of the package reads pictures that it never saw."""

import numpy as np
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, FactorWorld, classifier
from mm_sae_plugin.factorworld.classifier import FactorClassifier, classifier_card, load_classifier

N = 300


@pytest.fixture(scope="module")
def pairs():
    world = FactorWorld(123)
    return [world.pair(index) for index in range(N)]


def test_it_reads_what_new_pictures_show(pairs):
    reader = load_classifier()
    read = reader.read([pair.image for pair in pairs])
    for name, factor in FACTORS.items():
        drawn = [
            (pair.labels[f"drawn.{name}"], answer[name])
            for pair, answer in zip(pairs, read, strict=True)
            if pair.labels[f"drawn.{name}"]
        ]
        if factor.drawn:
            right = np.mean([shown == answer for shown, answer in drawn])
            # Three of four marks in twenty are few pictures.
            assert right >= (0.97 if len(drawn) > 100 else 0.9), name
        else:
            assert not drawn
    assert classifier_card()["held_out"]["accuracy"]["object"] >= 0.95


def test_features_tell_pictures_apart_by_what_they_show(pairs):
    reader = load_classifier()
    pictures = classifier.as_pixels(np.stack([np.asarray(pair.image) for pair in pairs]))
    with torch.no_grad():
        features = torch.nn.functional.normalize(reader.features(pictures), dim=1)
    likeness = features @ features.T
    subject = [pair.labels["drawn.object"] + pair.labels["drawn.occupation"] for pair in pairs]
    same = torch.tensor([[one == other for other in subject] for one in subject])
    apart = ~torch.eye(N, dtype=torch.bool)
    assert likeness[same & apart].mean() > likeness[~same].mean() + 0.02


def test_weights_that_are_damaged_or_gone_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "classifier_path", lambda: tmp_path / "classifier.safetensors")
    with pytest.raises(UserError, match=r"classifier\.safetensors is missing or damaged"):
        load_classifier()
    (tmp_path / "classifier.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match=r"classifier\.safetensors is missing or damaged"):
        load_classifier()


def test_grain_is_read_from_roughness_alone():
    chance = torch.Generator().manual_seed(0)
    flat = torch.zeros(1, 3, 64, 64)
    rough = flat + 0.1 * torch.rand(1, 1, 64, 64, generator=chance)
    assert (classifier.roughness(rough) > classifier.roughness(flat) + 1).all()
    n_values = sum(len(factor.values) for factor in FACTORS.values())
    assert FactorClassifier().eval()(flat).shape == (1, n_values)
