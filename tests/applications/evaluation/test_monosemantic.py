"""Monosemanticity of whole feature maps: planted meanings, real SAEs, what is refused."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_sae_plugin.applications.evaluation.judges import embed_for
from mm_sae_plugin.applications.evaluation.monosemantic import compare, run_monosemanticity
from mm_sae_plugin.applications.evaluation.monosemantic_config import MonosemanticityConfig
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import RawDimensions
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.monosemanticity.embedded import embed_pairs
from mm_sae_plugin.study import Study
from tests.stats.fakes import FakeStore, IdentityMap
from tests.stats.monosemanticity.judged import colour_encoder

CFG = MonosemanticityConfig(tops=(10, 30), n_images=None)


@pytest.fixture(scope="module")
def study(small_sae) -> Study:
    return Study.open(small_sae)


@pytest.fixture(scope="module")
def cfg() -> MonosemanticityConfig:
    return MonosemanticityConfig(tops=(5, 10), n_images=300)


@pytest.fixture(scope="module")
def embedded(study, cfg):
    return embed_for(study.store, cfg)


@pytest.fixture(scope="module")
def found(study, cfg, embedded):
    labels = study.labels.classes
    return run_monosemanticity(study.feature_map, study.store, cfg, embedded, labels)


class PaintedStore(FakeStore):
    """Pictures of three colours; the activations are which one, on both sides, with a draw."""

    KINDS = ((250, 5, 5), (5, 250, 5), (5, 5, 250))

    def open_image(self, row: int):
        from PIL import Image

        return Image.new("RGB", (8, 8), self.KINDS[row % 3])


def painted(n: int = 240) -> PaintedStore:
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(n) % 3
    meaning = torch.eye(3)[kind] * (1 + torch.rand(n, 1, generator=generator))
    mixed = torch.rand(n, 3, generator=generator) * (torch.rand(n, 3, generator=generator) < 0.4)
    acts = torch.cat([meaning, mixed], dim=1)
    captions = [f"{'123'[kind[i]] * 3} {i // 10} {'abcdefghij'[i % 10]}" for i in range(n)]
    return PaintedStore(acts, acts, torch.arange(n), captions=captions)


def test_features_of_one_thing_stand_above_chance_and_others_at_it():
    store = painted()
    embedded = embed_pairs(store, colour_encoder(), colour_encoder(), colour_encoder("both"))
    found = run_monosemanticity(IdentityMap(6), store, CFG, embedded)
    for measure in found.measures:
        of_one, of_any = measure.estimate.values[:3], measure.estimate.values[3:]
        assert (of_one > measure.chance + 0.1).all(), measure.key
        ends = measure.estimate.intervals(0.999)
        assert (ends[3:, 0] < measure.chance).all() and (ends[3:, 1] > measure.chance).all()
        assert (of_one > of_any.max()).all()
    keys = [measure.key for measure in found.measures]
    assert keys == [
        *("ms_image", "embsim_image_10", "winrate_image_10", "embsim_image_30", "winrate_image_30"),
        *("ms_text", "embsim_text_10", "winrate_text_10", "embsim_text_30", "winrate_text_30"),
        "ms_cross",
    ]


class Half:
    """Three of the six features."""

    n_features = 3

    def __init__(self, start: int) -> None:
        self.start = start

    def encode(self, x: Tensor, modality: str) -> Tensor:
        return x[..., self.start : self.start + 3]


def test_two_maps_are_compared_on_the_same_images():
    store = painted()
    embedded = embed_pairs(store, colour_encoder(), colour_encoder())
    ours, theirs = (run_monosemanticity(Half(s), store, CFG, embedded) for s in (0, 3))
    for forth, back in zip(compare(ours, theirs), compare(theirs, ours), strict=True):
        assert forth["verdict"] == "more" and back["verdict"] == "less"
        assert forth["difference"] == pytest.approx(-back["difference"])
        assert forth["difference"] == pytest.approx(forth["means"][0] - forth["means"][1])
    assert {row["verdict"] for row in compare(ours, ours)} == {"undecided"}


def test_the_record_is_strict_json_with_counts_and_intervals(found, study):
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["encoders"]["image"]["name"] == "factorworld-classifier"
    assert record["encoders"]["text"] == {"name": "tfidf-words", "weights_id": "tfidf-words"}
    assert record["encoders"]["cross"]["name"] == "factorworld-declip"
    assert record["n_images"] == record["n_captions"] == 300
    rows = {row["key"]: row for row in record["measures"]}
    assert list(rows) == [measure.key for measure in found.measures]
    for row in rows.values():
        assert row["low"] <= row["mean"] <= row["high"] and row["n_features"] > 0
        assert set(row["by_class"]) == set(CLASSES)
        parts = row["by_class"].values()
        assert sum(part["n_features"] for part in parts) == row["n_features"]
        total = sum(part["mean"] * part["n_features"] for part in parts if part["n_features"])
        assert row["mean"] == pytest.approx(total / row["n_features"])
    assert rows["winrate_image_5"]["chance"] == 0.5 and rows["embsim_text_10"]["chance"] == 0


def test_columns_are_one_number_a_feature(found, study):
    columns = found.columns()
    n = study.feature_map.n_features
    assert all(len(column) == n for column in columns.values())
    for measure in found.measures:
        value, low, high, n_active = (
            columns[measure.key + end] for end in ("", "_low", "_high", "_n")
        )
        known = ~np.isnan(low)
        assert known.any() and (low <= value + 1e-12)[known].all()
        assert (value <= high + 1e-12)[known].all()
        least = measure.n_top or found.cfg.min_active
        assert (np.isnan(value) == (n_active < least)).all()


def test_it_is_the_same_every_time_and_embedding_once_changes_nothing(found, study, cfg):
    again = run_monosemanticity(study.feature_map, study.store, cfg)
    for name, column in found.columns().items():
        np.testing.assert_array_equal(again.columns()[name], column)


def test_any_feature_map_can_be_measured(study, cfg, embedded, found):
    raw = run_monosemanticity(RawDimensions(128), study.store, cfg, embedded)
    assert len(raw.columns()["ms_image"]) == 256 and raw.classes is None
    rows = compare(found, raw)
    assert [row["key"] for row in rows] == [measure.key for measure in found.measures]
    assert all(row["n_features"][1] <= 256 for row in rows)


def test_dead_features_are_none_and_no_nan(study, cfg, embedded):
    class Dead:
        n_features = 5

        def encode(self, x: Tensor, modality: str) -> Tensor:
            return torch.zeros(*x.shape[:-1], 5)

    dead = run_monosemanticity(Dead(), study.store, cfg, embedded, ["Dead"] * 5)
    record = json.loads(json.dumps(dead.record(), allow_nan=False))
    for row in record["measures"]:
        assert row["mean"] is row["low"] is row["high"] is None and row["n_features"] == 0
    assert json.dumps(compare(dead, dead), allow_nan=False)
    assert {row["verdict"] for row in compare(dead, dead)} == {"undecided"}


def test_the_encoder_that_is_interpreted_cannot_judge_itself(study):
    cfg = MonosemanticityConfig(image_encoder="factorworld")
    with pytest.raises(UserError, match=r"factorworld is the encoder that is interpreted \(sha256"):
        embed_for(study.store, cfg)


def test_fewer_pairs_than_m_is_one_line(study):
    cfg = MonosemanticityConfig(n_images=40)
    with pytest.raises(UserError, match=r"m = 50 need as many images, and there are 40: extract"):
        run_monosemanticity(study.feature_map, study.store, cfg)


def test_without_a_known_source_only_captions_are_judged():
    store = painted()
    found = run_monosemanticity(IdentityMap(6), store, CFG)
    assert found.embedded.image is None and found.embedded.joint is None
    assert found.record()["encoders"] == {
        "image": None,
        "text": {"name": "tfidf-words", "weights_id": "tfidf-words"},
    }
    assert all(measure.side == "text" for measure in found.measures)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tops": ()}, "tops must be different numbers"),
        ({"tops": (1, 10)}, "each at least 2"),
        ({"tops": (10, 10)}, "tops must be different"),
        ({"n_images": 1}, "n_images must be at least 2"),
        ({"min_active": 1}, "one sample has no other"),
        ({"n_folds": 1}, "n_folds must be at least 2"),
        ({"confidence": 1.0}, "between 0 and 1"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        MonosemanticityConfig(**settings)


def test_the_classifier_does_not_judge_the_pictures_that_it_was_trained_on(study):
    from dataclasses import replace

    class Trained:
        manifest = replace(study.store.manifest, source="factorworld:500:4000")

    with pytest.raises(UserError, match=r"was trained on the pictures of factorworld:500:4000"):
        embed_for(Trained())  # pyright: ignore[reportArgumentType]
