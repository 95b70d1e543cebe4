"""What the labels of an SAE depend on, from its folder to the sentence beside its labels."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mm_sae_plugin.applications.evaluation.stability import run_stability
from mm_sae_plugin.applications.evaluation.stability_config import StabilityConfig
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats import ModalityConfig
from mm_sae_plugin.stats.stability_note import read_stability
from mm_sae_plugin.study import Study
from mm_sae_plugin.training.as_trained import config_as_trained

QUICK = StabilityConfig(n_shuffles=50, taus=(1.0, 2.0), min_activations=(10, 50))


@pytest.fixture
def study(small_sae, tmp_path) -> Study:
    """A copy, to be written into."""
    shutil.copytree(small_sae, tmp_path / "sae")
    return Study.open(tmp_path / "sae", small_sae.parent / "acts")


def test_the_same_seed_again_keeps_every_class(study, monkeypatch):
    own = config_as_trained(study.path)
    # Its successor is the SAE's own seed, 0; nobody could give it.
    monkeypatch.setattr("mm_sae_plugin.errors.check_seeds", lambda *_: None)
    stability = run_stability(study, QUICK, training=replace(own, seed=own.seed - 1))
    (again,) = stability.seeds
    assert again.seed == own.seed == 0
    assert again.classes == tuple(study.labels.classes)
    alive = again.survival.groups["alive"]
    assert alive.of_alive.value == 1 and alive.of_alive.n == int(study.labels.alive.sum())
    columns = stability.columns()
    living = study.labels.alive.numpy()
    np.testing.assert_allclose(columns["seed_0_cosine"][living], 1, atol=1e-6)
    assert (columns["class_survival"][living] == 1).all()
    assert np.isnan(columns["class_survival"][~living]).all()


def test_another_seed_is_trained_matched_and_told(study):
    stability = run_stability(study, replace(QUICK, n_seeds=2))
    assert [each.seed for each in stability.seeds] == [1, 2]
    assert stability.same_activations is True and stability.untrained_reason is None
    record = json.loads(json.dumps(stability.record(), allow_nan=False))
    alive = record["seeds"][0]["groups"]["alive"]
    assert alive["of_alive"]["n"] == int(study.labels.alive.sum())
    assert 0 < alive["matched"]["value"] < 1
    assert alive["of_alive"]["count"] == alive["of_matched"]["count"] > 0
    decided = record["seeds"][0]["groups"]["decided"]
    at_border = next(at for at in record["seeds"][0]["by_cosine"] if at["min_cosine"] == 0.7)
    assert at_border["of_matched"] == decided["of_matched"]
    assert len(record["agreement"]["ways"]) == 20 and not record["sizes"]
    assert len(record["settings"]) == 2 * 2 + 2 * 2
    columns = stability.columns()
    n_latents = study.labels.n_features
    assert all(len(column) == n_latents for column in columns.values())
    survived = (columns["seed_1_class"] == np.array(study.labels.classes, dtype=object)) & columns[
        "seed_1_matched"
    ]
    assert survived.sum() == alive["of_alive"]["count"]
    assert set(columns["class_survival"][study.labels.alive.numpy()]) <= {0.0, 0.5, 1.0}

    note = stability.note()
    assert note is not None and record["sentence"] == note.sentence()
    assert note.seeds[0].n_alive_kept == alive["of_alive"]["count"]
    assert note.seeds[0].n_decided_kept == decided["of_alive"]["count"]
    note.save(study.path)
    assert read_stability(study.path, study.labels.classes) == note
    # Other labels have a stability of their own.
    study.label(ModalityConfig(score="frequency", rule="paper"))
    assert read_stability(study.path, study.labels.classes) is None


def test_other_sizes_and_sparsities_are_trained(study):
    cfg = replace(QUICK, n_seeds=0, l0_factors=(0.5, 1.0), size_factors=(0.5, 2.0))
    stability = run_stability(study, cfg)
    assert not stability.seeds and stability.note() is None and stability.columns() == {}
    assert [(each.parameter, each.d_sae, each.k) for each in stability.sizes] == [
        ("k", 64, 4),
        ("d_sae", 32, 8),
        ("d_sae", 128, 8),
    ]
    sparse, small, large = stability.sizes
    assert max(sparse.evaluation.l0.values()) <= 4 < min(large.evaluation.l0.values())
    for each, n_latents in ((small, 32), (large, 128)):
        shares = each.class_shares.values()
        assert {share.n for share in shares} == {n_latents}
        assert sum(share.count for share in shares) == n_latents
    n_alive = int(study.labels.alive.sum())
    assert small.survival.groups["alive"].matched.n == n_alive
    assert small.survival.groups["alive"].matched.count <= 32
    json.dumps(stability.record(), allow_nan=False)


def test_a_folder_that_does_not_say_how_it_was_trained_is_told_why(study):
    (study.path / "runner_cfg.json").unlink()
    (study.path / "checksums.json").unlink()
    stability = run_stability(study, QUICK)
    assert not stability.seeds and stability.same_activations is None
    assert "does not say how its SAE was trained" in (stability.untrained_reason or "")
    record = json.loads(json.dumps(stability.record(), allow_nan=False))
    assert record["sentence"] is None and len(record["settings"]) == 8


def test_dead_latents_alone_have_no_class_that_could_survive(study):
    study.label(ModalityConfig(min_activations=100_000))
    with pytest.raises(UserError, match=r"All latents of .* are dead"):
        run_stability(study, QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_seeds": -1}, "n_seeds must be 0 or more"),
        ({"min_cosine": 1.5}, "between 0 and 1, not 1.5"),
        ({"n_shuffles": 3}, "at least 20 random matchings"),
        ({"size_factors": (0.0,)}, "size_factors must be above 0"),
        ({"confidence": 1.0}, "confidence must lie between"),
        ({"seed": -1}, r"seed must be a whole number from 0, below 2\^63, not -1"),
    ],
)
def test_wrong_options_are_told_in_one_line(options, message):
    with pytest.raises(UserError, match=message):
        StabilityConfig(**options)
