"""A whole check of a small SAE."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mm_sae_plugin.applications.causal import gallery
from mm_sae_plugin.applications.causal.config import CausalConfig
from mm_sae_plugin.applications.causal.run import run_causal
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.study import Study

CFG = CausalConfig(n_images=60, n_prompts=2)


@pytest.fixture(scope="module")
def found(small_sae):
    return run_causal(Study.open(small_sae), CFG)


def test_every_set_stands_beside_random_ones_on_every_side(found, small_sae):
    labels = Study.open(small_sae).labels
    for name in ("ImgD", "TextD", "CrossD"):
        for suffix, of in (("", labels), (" (paper)", labels.by_paper_score)):
            n = len(of.latents(name))
            if not n:
                assert f"{name}{suffix}" in found.empty
                continue
            for side in ("image", "text", "both"):
                row = found.row(f"{name}{suffix}", side)
                assert row.n_latents == n and isinstance(row.is_matched, bool)
                assert row.measures["retrieval"].random is not None
    names = {row.name for row in found.rows} | set(found.empty)
    assert {"no edit", "reconstruction only", "CrossD together", "CrossD apart"} <= names
    assert {"ImgD concepts", "TextD concepts", "CrossD concepts"} <= names


def test_the_model_as_it_is_is_good_and_removing_all_of_a_side_is_not(found):
    whole = found.row("no edit").measures
    assert whole["image_to_text_r5"].value.value > 0.8
    assert whole["zero_shot.colour"].value.value > 0.8
    assert {one.difference.value for one in whole.values()} == {0}
    worst = max(row.costs["retrieval"]["class"].value for row in found.rows)
    assert worst > 0.1


def test_a_label_costs_its_own_kind_of_factor(found):
    """Known factors whose images alone have them go with ImgD latents, and so on."""
    kinds = found.by_kind()
    assert "reconstruction only" not in kinds and "no edit" not in kinds
    for name in ("ImgD", "TextD", "CrossD"):
        if name in kinds:
            fall = {kind: one.value for kind, one in kinds[name].items()}
            assert min(fall, key=fall.__getitem__) == name and fall[name] < -0.1
    assert found.record()["by_kind"].keys() == kinds.keys()


def test_claims_are_judged_for_both_labels_and_every_way_to_count(found):
    assert [(one.labels, one.per) for one in found.claims] == [
        (score, per)
        for score in ("carried", "mean_of_ratios")
        for per in ("class", "latent", "energy")
    ]
    assert all(one.reason.endswith(".") for one in found.claims)


def test_the_record_is_strict_json_and_columns_are_one_a_latent(found):
    record = found.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    assert record["gallery"]["n_images"] == 60 and record["gallery"]["is_held_out"]
    assert {len(column) for column in found.columns().values()} == {64}
    assert np.isfinite(found.columns()["steerability"]).any()
    assert record["steerability"]["kind"] == "truth"


def test_the_same_seed_gives_the_same(found, small_sae):
    again = run_causal(Study.open(small_sae), CFG)
    assert json.dumps(again.record()) == json.dumps(found.record())
    for name, column in again.columns().items():
        assert np.array_equal(column, found.columns()[name], equal_nan=column.dtype == float)


def test_other_data_are_judged_on_their_own_pairs(small_sae, monkeypatch):
    monkeypatch.setattr(gallery, "is_truth_known", lambda *_: False)
    found = run_causal(Study.open(small_sae), CFG)
    record = found.record()
    assert json.dumps(record, allow_nan=False)
    assert not found.is_held_out and record["steerability"]["kind"] == "examples"
    assert not any(name.startswith("zero_shot") for name in found.n_queries)
    assert found.by_kind() == {}
    assert [task.task for task in found.claims[0].tasks] in ([], ["retrieval"])


def test_where_all_latents_are_dead_nothing_is_removed_and_nothing_claimed(small_sae):
    study = Study.open(small_sae)
    cfg = replace(study.labels.cfg, min_activations=10**9)
    dead = ModalityDominance.from_config(study.labels.statistics, cfg, study.labels.carried)
    study.__dict__["labels"] = dead
    found = run_causal(study, CFG)
    assert {row.name for row in found.rows} == {"no edit", "reconstruction only"}
    assert {claim.verdict for claim in found.claims} == {"undecided"}
    assert "No latent is in this set" in found.empty["ImgD"]
    assert np.isnan(found.columns()["steerability"]).all()
    assert json.dumps(found.record(), allow_nan=False)


def test_an_sae_of_another_site_is_refused(small_sae, monkeypatch):
    study = Study.open(small_sae)
    elsewhere = {"image": "vision.hook_pooled", "text": "text.hook_pooled"}
    monkeypatch.setattr(type(study), "hook_names", property(lambda self: elsewhere))
    with pytest.raises(UserError, match=r"has vision.hook_pooled for its image side: train one"):
        run_causal(study, CFG)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_images": 5}, "n_images must be 20 to 10,000, not 5"),
        ({"n_random": 19}, "n_random must be at least 20, not 19"),
        ({"n_resamples": 100}, "n_resamples must be at least 500, not 100"),
        ({"n_prompts": 0}, "n_prompts must be at least 1"),
        ({"steer_share": 0.0}, "steer_share must be finite and above 0"),
        ({"steer_share": float("nan")}, "steer_share must be finite"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1"),
        ({"seed": -1}, "A seed must be a whole number from 0"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CausalConfig(**settings)


def test_the_full_preset_asks_for_more():
    full, usual = CausalConfig(seed=3).full(), CausalConfig()
    assert full.seed == 3 and full.n_random > usual.n_random and full.n_images > usual.n_images
