"""One table of several systems, on a small labelled SAE."""

import json
from typing import Any, cast

import pytest
import torch

from mm_sae_plugin.applications.evaluation.comparators import FULL, Like
from mm_sae_plugin.applications.evaluation.comparison import (
    System,
    compare,
    same_pairs_of,
)
from mm_sae_plugin.applications.evaluation.comparison_config import PAPER, QUICK, ComparisonConfig
from mm_sae_plugin.applications.evaluation.system_row import Distribution
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import RawDimensions
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.study import Study


@pytest.fixture(scope="module")
def study(small_sae) -> Study:
    return Study.open(small_sae)


@pytest.fixture(scope="module")
def comparison(study, tmp_path_factory):
    """The study's SAE, the paper's other systems, and another model's dimensions."""
    store = same_pairs_of(study, "factorworld-declip", tmp_path_factory.mktemp("declip") / "acts")
    like = Like.of(study.sae.cfg)
    told: list[str] = []
    table = compare(
        study,
        ("sae", "raw", "pca", "ncl_shared"),
        ComparisonConfig(training_steps=20),
        others=[System.built("raw", store, like, name="declip")],
        monosemanticity=lambda name, feature_map, store: {
            "width": feature_map.n_features,
            "n": len(store.image_index),
        },
        tell=told.append,
    )
    assert [line.partition(":")[0] for line in told] == table.names
    return table


def test_there_is_a_row_for_every_system(comparison):
    assert comparison.names == ["sae", "raw", "pca", "ncl_shared", "declip"]
    assert not comparison.failed
    models = [row.model for row in comparison.rows]
    assert models == ["factorworld"] * 4 + ["factorworld-declip"]
    for row in comparison.rows:
        assert row.n_pairs == 500
        for counts in row.classes.values():
            assert sum(counts.values()) == row.n_features
        assert row.n_features - row.classes["carried"]["Dead"] == row.n_alive
        assert sum(row.mds.histogram) == row.mds.n <= row.n_alive
        assert row.monosemanticity == {"width": row.n_features, "n": 500}
        assert row.split is not None and row.split.n_values > 50


def test_the_studys_own_labels_are_taken(comparison, study):
    row = comparison.row("sae")
    assert row.classes["carried"] == study.labels.class_counts
    assert row.classes["paper_score"] == study.labels.by_paper_score.class_counts
    assert row.seconds["label"] is None and row.seconds["build"] is None
    assert row.l0["image"] == pytest.approx(8) and row.l0["text"] == pytest.approx(8)
    saved = json.loads((study.path / "evaluation.json").read_text())["explained_variance"]
    assert row.explained_variance == pytest.approx(saved, abs=1e-4)


def test_rivals_are_trained_as_the_sae_was(study):
    like = Like.of_study(study)
    assert (like.d_sae, like.k, like.training_steps) == (64, 8, 100)
    assert like.training["train_batch_size_samples"] == 128 and like.training["lr"] == 3e-3
    assert Like.of_study(study, 20).training_steps == 20
    # With the same seed that gives the very same SAE.
    again = compare(study, ("sae_topk",)).rows[0]
    own = json.loads((study.path / "evaluation.json").read_text())["explained_variance"]
    assert again.explained_variance == pytest.approx(own, abs=1e-4)


def test_what_keeps_everything_explains_everything(comparison):
    for name in ("raw", "pca", "declip"):
        row = comparison.row(name)
        assert row.explained_variance == pytest.approx({"image": 1, "text": 1}, abs=1e-5)
        assert row.l0["image"] == pytest.approx(row.n_features / 2)
    assert comparison.row("ncl_shared").explained_variance is None


def test_the_record_is_strict_json_and_the_table_has_a_line_each(comparison):
    record = comparison.record()
    again = json.loads(json.dumps(record, allow_nan=False))
    assert [row["name"] for row in again["rows"]] == comparison.names
    assert set(again["rows"][0]["split"]) >= {"rate", "interval", "n_followed", "n_values"}
    table = comparison.table()
    assert table["system"].tolist() == comparison.names
    assert {"mono_width", "carried_CrossD", "paper_ImgD", "split_rate", "seconds"} <= set(table)


def test_other_labels_are_computed_when_they_are_asked_for(study):
    from mm_sae_plugin.stats.config import ModalityConfig

    cfg = ComparisonConfig(labels=ModalityConfig(min_activations=200))
    row = compare(study, ("sae",), cfg).rows[0]
    assert row.seconds["label"] is not None
    assert row.n_alive < int(study.labels.alive.sum())


def test_what_cannot_be_made_is_listed_and_the_rest_goes_on(study):
    wrong = System("wrong", RawDimensions(5), cast(PairedActivations, study.store))
    table = compare(study, ("raw",), others=[wrong])
    assert table.names == ["raw"] and "takes activations of width 5" in table.failed["wrong"]
    with pytest.raises(UserError, match="no row 'wrong'; there are raw"):
        table.row("wrong")


def test_names_are_checked_before_anything_is_done(study):
    with pytest.raises(UserError, match="no comparator 'ica': choose from sae, "):
        compare(study, ("sae", "ica"))
    with pytest.raises(UserError, match="'raw' is asked for twice"):
        compare(
            study,
            ("raw",),
            others=[System("raw", RawDimensions(128), cast(PairedActivations, study.store))],
        )
    assert set(QUICK) | set(PAPER) <= set(FULL)


def test_settings_without_meaning_are_refused():
    wrongs: list[dict[str, Any]] = [
        *({"min_r2": 0.0}, {"n_bins": 0}, {"training_steps": 0}, {"seed": -1})
    ]
    for wrong in wrongs:
        with pytest.raises(UserError, match=next(iter(wrong)).split("_")[0]):
            ComparisonConfig(**wrong)


def test_a_distribution_leaves_out_what_has_no_score():
    found = Distribution.of(torch.tensor([0.0, 0.5, 1.0, float("nan")]), n_bins=2)
    assert (found.n, found.mean, found.histogram) == (3, 0.5, [1, 2])
    assert found.quantiles["q50"] == 0.5
    nothing = Distribution.of(torch.tensor([float("nan")]), n_bins=2)
    assert (nothing.n, nothing.mean, nothing.quantiles["q05"]) == (0, None, None)
