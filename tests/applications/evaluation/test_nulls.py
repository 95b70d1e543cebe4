"""Labels and tests beside their nulls, on pairs whose truth is known and on a trained SAE."""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_sae_plugin.applications.evaluation.latent_tests import EVIDENCE, TESTS
from mm_sae_plugin.applications.evaluation.nulls import (
    NULLS,
    Nulls,
    NullsConfig,
    nulls_of,
    run_nulls,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats import ModalityConfig
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.labelling import label_features
from mm_sae_plugin.study import Study
from tests.stats.carried.worlds import World, world

SHARED, SHARED_TEXT, WHOLE, IMAGE_ONLY, UNRELATED, SILENT = range(6)
"""Two halves of a concept, one latent of another, one of images, one of two things that have
nothing to do with each other, and one that never fires."""


@dataclass(frozen=True)
class KnownLatents:
    """Latents that read given directions, their own on either side."""

    directions: dict[Modality, Tensor]

    @property
    def n_features(self) -> int:
        return len(self.directions["image"])

    def encode(self, acts: Tensor, modality: Modality) -> Tensor:
        return torch.relu(acts @ self.directions[modality].T - 0.5)


def known_latents(pairs: World) -> KnownLatents:
    image, text = pairs.directions["image"], pairs.directions["text"]
    nothing = torch.zeros_like(image[0])
    return KnownLatents(
        {
            "image": torch.stack([image[0], nothing, image[1], image[2], image[2], nothing]),
            "text": torch.stack([nothing, text[0], text[1], nothing, text[3], nothing]),
        }
    )


@pytest.fixture(scope="module")
def known() -> tuple[KnownLatents, World]:
    pairs = world([(1, 1), (1, 1), (1, 0), (0, 1)], n_pairs=8000, seed=1)
    return known_latents(pairs), pairs


@pytest.fixture(scope="module")
def found(known) -> Nulls:
    latents, pairs = known
    labels = label_features(latents, pairs.store)
    return nulls_of(latents, pairs.store, labels, NullsConfig(repeats=2))


@pytest.fixture(scope="module")
def of_sae(small_sae) -> Nulls:
    return run_nulls(Study.open(small_sae), NullsConfig(n_pairs=400, repeats=2))


def test_labels_are_as_the_pairs_were_made(found):
    *known, unrelated, silent = found.labels.classes
    assert known == ["CrossD", "CrossD", "CrossD", "ImgD"]
    # Its own side is the one on which it happens to be a little stronger.
    assert unrelated in ("ImgD", "TextD") and silent == "Dead"


def test_evidence_of_pairs_is_the_most_direct_there_is(found):
    evidence = found.tests.evidence
    assert evidence[SHARED] == evidence[SHARED_TEXT] == "concept"
    assert evidence[WHOLE] == "own codes"
    assert evidence[IMAGE_ONLY] == evidence[UNRELATED] == evidence[SILENT] == "none"


def test_equal_but_unrelated_is_what_both_sides_fire_without_each_other(found):
    tests = found.tests
    by_paper = replace(tests, is_cross_by_paper=torch.ones(6, dtype=torch.bool))
    assert not tests.equal_but_unrelated.any()
    assert by_paper.equal_but_unrelated_by_paper[UNRELATED]
    assert not by_paper.equal_but_unrelated_by_paper[WHOLE]
    # Balanced codes alone would make it cross-modal.
    score = found.labels.statistics.sides("frequency")
    assert float(score[0][UNRELATED] / (score[0] + score[1])[UNRELATED]) == pytest.approx(
        0.5, abs=0.05
    )
    seen_as_cross = replace(tests, is_cross=torch.ones(6, dtype=torch.bool))
    assert seen_as_cross.equal_but_unrelated.tolist() == [False, False, False, True, True, True]


def test_half_of_a_concept_without_its_partner_is_still_read(known):
    """The other side shows what it fires for, and no latent there fires for it."""
    latents, pairs = known
    alone = KnownLatents({m: rows[[SHARED, IMAGE_ONLY]] for m, rows in latents.directions.items()})
    labels = label_features(alone, pairs.store)
    tests = nulls_of(alone, pairs.store, labels, NullsConfig(repeats=1)).tests
    assert labels.classes == ["CrossD", "ImgD"] and not labels.concepts
    assert tests.evidence == ["reading", "none"]
    assert not tests.equal_but_unrelated.any()


def test_each_test_stands_where_it_should(found):
    stands = {name: t.stands(0.05).tolist() for name, t in found.tests.by_test.items()}
    assert stands["swap"] == [True, True, False, True, False, False]
    assert stands["coactivation"] == [False, False, True, False, False, False]
    assert stands["carry"] == [True, True, True, False, False, False]
    assert found.tests.record()["stands"]["swap"]["n"] == 5, "a dead latent is not tested"


def test_shuffled_pairs_leave_nothing_cross_modal(found):
    for look in found.nulls["shuffled"]:
        counts = look.as_labelled
        assert (counts["CrossD"], counts["Dead"]) == (0, 1)
        assert counts["ImgD"] + counts["TextD"] >= 3
        assert look.stands["coactivation"] == look.stands["carry"] == 0
        assert look.stands["swap"] == found.real.stands["swap"] == 3


def test_exchanged_sides_are_a_coin_for_all_but_the_cross_modal(found):
    for look in found.nulls["swapped"]:
        assert look.as_labelled["CrossD"] == 3 and look.as_labelled["Dead"] == 1
        assert look.as_labelled["ImgD"] + look.as_labelled["TextD"] == 2
        assert look.stands["swap"] < found.real.stands["swap"] == 3


def test_exchanged_codes_lie_in_the_middle_where_codes_are_classified(known):
    latents, pairs = known
    cfg = ModalityConfig(score="frequency")
    labels = label_features(latents, pairs.store, cfg)
    found = nulls_of(latents, pairs.store, labels, NullsConfig(repeats=1))
    assert (labels.class_counts["ImgD"], labels.class_counts["TextD"]) == (2, 1)
    (look,) = found.nulls["swapped"]
    assert look.as_labelled["CrossD"] == 5
    # Evidence of readings is for labels by readings.
    assert found.tests.evidence[SHARED] == "concept"
    assert "untrained" not in found.nulls, "there are no weights to draw anew"


def test_record_is_strict_json_with_every_count_beside_its_n(of_sae):
    record = json.loads(json.dumps(of_sae.record(), allow_nan=False))
    assert set(record["nulls"]) == set(NULLS)
    assert record["pairs"]["n_pairs"] <= 400 < record["pairs"]["store_pairs"] == 500
    assert record["pairs"]["sampled"] and record["repeats"] == 2
    swapped = record["nulls"]["swapped"]
    for row in (record["real"], *record["nulls"].values()):
        for counts in (row["as_labelled"], row["paper"]):
            assert set(counts) == set(CLASSES)
            assert sum(count["mean"] for count in counts.values()) == pytest.approx(64)
            assert all(c["low"] <= c["mean"] <= c["high"] for c in counts.values())
            shares = [c["share_of_alive"] for name, c in counts.items() if name != "Dead"]
            assert sum(shares) == pytest.approx(1) and counts["Dead"]["share_of_alive"] is None
        assert set(row["stands"]) == (set(TESTS) if row is not swapped else {"swap"})
    latents = record["latents"]
    assert set(latents["cross_modal_by"]) == set(EVIDENCE)
    n_cross = of_sae.labels.class_counts["CrossD"]
    assert sum(share["count"] for share in latents["cross_modal_by"].values()) == n_cross
    for name, share in latents["stands"].items():
        assert share["n"] == record["n_alive"], name
        assert share["low"] <= share["value"] <= share["high"]


def test_columns_are_one_value_a_latent(of_sae):
    assert all(len(values) == 64 for values in of_sae.columns().values())


def test_a_dead_latent_is_not_tested(found):
    columns, dead = found.columns(), ~found.labels.alive.numpy()
    assert dead.tolist() == [False] * 5 + [True]
    for name in TESTS:
        p, q = columns[f"{name}_p"], columns[f"{name}_q"]
        assert np.isnan(p[dead]).all() and not np.isnan(p[~dead]).any()
        assert (q[~dead] >= p[~dead]).all()
    assert set(columns["pair_evidence"]) <= set(EVIDENCE)
    assert not (columns["equal_but_unrelated"] & dead).any()


def test_same_seed_same_bits_and_another_seed_another_null(small_sae, of_sae):
    study = Study.open(small_sae)
    again = run_nulls(study, NullsConfig(n_pairs=400, repeats=2))
    assert again.record() == of_sae.record()
    for name, values in again.columns().items():
        np.testing.assert_array_equal(values, of_sae.columns()[name])
    other = run_nulls(study, NullsConfig(n_pairs=400, repeats=1, seed=5))
    assert other.nulls["gaussian"][0] != of_sae.nulls["gaussian"][0]


def test_a_dictionary_of_dead_latents_is_refused(known):
    _, pairs = known
    nothing = {m: torch.zeros_like(rows[:2]) for m, rows in pairs.directions.items()}
    silent = KnownLatents(nothing)
    labels = label_features(silent, pairs.store)
    with pytest.raises(UserError, match="All 2 latents are dead"):
        nulls_of(silent, pairs.store, labels)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"n_pairs": 1}, "n_pairs must be at least 2"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"level": 1.0}, "level must lie between 0 and 1"),
        ({"seed": -1}, "A seed must be a whole number from 0"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], told: str):
    with pytest.raises(UserError, match=told):
        NullsConfig(**settings)
