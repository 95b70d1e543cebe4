"""What an edit is judged by, what a gap comes from, and ways to make it smaller."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from mm_sae_plugin.applications.bias.asymmetry import Asymmetry, asymmetry
from mm_sae_plugin.applications.bias.attributed import LatentRow, attribute
from mm_sae_plugin.applications.bias.bench import Bench
from mm_sae_plugin.applications.bias.mitigations import (
    chosen_latents,
    compare_mitigations,
    modulation,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study import Study

SIDES = ("image", "text", "both")


@pytest.fixture(scope="module")
def bench(small_sae):
    return Bench.of_twins(Study.open(small_sae), n_per_target=4)


@pytest.fixture(scope="module")
def attributed(bench):
    return attribute(bench, n_random=20, n_latents=6)


def test_the_model_as_it_is(bench):
    found = bench.measure()
    assert found.summary == pytest.approx(bench.testing.summary(bench.testing.gaps()))
    assert found.retrieval > 0.8 and found.zero_shot["colour"] > 0.8
    assert found.readable > 0.8 and found.named > 0.9 and found.chance == 0.5
    assert set(found.group_accuracy) == {"woman", "man"}
    assert found.group_accuracy[found.worst_group] == min(found.group_accuracy.values())


def test_an_empty_edit_changes_nothing(bench):
    assert bench.measure(FeatureEdit.none(bench.study)) == bench.measure()


@pytest.mark.parametrize("side", SIDES)
def test_an_edit_through_interventions_is_the_removal_of_the_attribution(bench, side):
    mask = torch.tensor([name == "CrossD" for name in bench.study.labels.classes])
    edited = bench.measure(FeatureEdit.ablate(bench.study, mask=mask), side)
    assert edited.summary == pytest.approx(bench.attribution.without(mask, side), abs=1e-3)
    assert edited != bench.measure()


def test_what_is_edited_on_one_side_leaves_the_other(bench):
    edit = FeatureEdit.ablate(bench.study, mask=bench.study.labels.alive)
    # The probe reads images alone.
    assert bench.measure(edit, "text").readable == bench.measure().readable
    assert bench.measure(edit, "image").readable < bench.measure().readable


def test_attribution_names_classes_latents_and_concepts(bench, attributed):
    labels = bench.study.labels
    assert attributed.whole == pytest.approx(attributed.measured.summary, abs=1e-4)
    assert {row.removed.side for row in attributed.classes} == set(SIDES)
    for row in attributed.classes:
        name = row.removed.name.removesuffix(" (paper)")
        labelled = labels if name == row.removed.name else labels.by_paper_score
        assert row.removed.n_latents == labelled.classes.count(name)
        assert len(row.removed.random) == 20
        assert 0 <= row.n_by_association <= row.removed.n_latents
    sign = 1 if attributed.whole_choosing > 0 else -1
    taken = [sign * row.taken_choosing for row in attributed.latents]
    assert taken == sorted(taken, reverse=True) and min(taken) > 0
    for row in attributed.latents:
        assert row.modality_class == labels.classes[row.latent]
        mask = torch.zeros(labels.n_features, dtype=torch.bool)
        mask[row.latent] = True
        left = bench.attribution.without(mask)
        assert row.taken == pytest.approx(attributed.whole - left, abs=1e-5)
    told = {latent for row in attributed.concepts for latent in row.latents}
    assert {row.latent for row in attributed.latents} <= told


def test_all_of_it_is_strict_json(bench, attributed):
    record = [asdict(attributed), [asdict(row) for row in compare_mitigations(bench, attributed)]]
    assert json.loads(json.dumps(record, allow_nan=False))


def test_ways_to_mitigate_stand_beside_the_model_as_it_is(bench, attributed):
    rows = compare_mitigations(bench, attributed)
    assert rows[0].name == "nothing" and rows[0].measured == attributed.measured
    by_name = {row.name: row.measured for row in rows if row.side == "both"}
    projected = by_name["direction between the groups' images projected out"]
    assert projected.named < 0.75 < rows[0].measured.named
    assert all(row.latents for row in rows if "latents" in row.name)


def test_latents_are_chosen_until_they_add_up_to_the_whole(attributed):
    rows = [
        LatentRow(k, taken, taken, "CrossD", "ImgD", False, 0.5)
        for k, taken in enumerate((-2.0, -1.0, -0.5, -0.4, -0.1))
    ]
    for whole, chosen in ((-3.2, 3), (-4.0, 4), (-30.0, 1), (-100.0, 0)):
        found = replace(attributed, whole_choosing=whole, latents=rows)
        assert chosen_latents(found) == tuple(range(chosen))


def test_modulated_latents_lean_to_a_group(bench):
    latents, edit = modulation(bench)
    words = bench.choosing.words
    women, men = (
        bench.study.feature_map.encode(words[name], "text").mean(0) for name in ("woman", "man")
    )
    chosen = list(latents)
    assert ((women - men).abs() > 0.5 * (women + men))[chosen].all()
    left = bench.change_of(edit)(words["woman"], "text") if latents else words["woman"]
    assert left.shape == words["woman"].shape


def test_asymmetry_is_found_where_it_is_planted(bench):
    """Classes are those latents that fire on one gender's images, so that the claim holds."""
    codes = bench.choosing
    rows = bench.study.feature_map.encode(codes.images, "image")
    is_first = torch.from_numpy(codes.is_first)
    lean = rows[is_first].mean(0) - rows[~is_first].mean(0)
    names = ["Undetermined"] * len(lean)
    names[int(lean.argmax())], names[int(lean.argmin())] = "ImgD", "TextD"
    labels = replace(bench.study.labels, classes=names)
    found = asymmetry(bench.study.feature_map, labels, bench.testing)
    turned = replace(labels, classes=[{"ImgD": "TextD", "TextD": "ImgD"}.get(n, n) for n in names])
    opposite = asymmetry(bench.study.feature_map, turned, bench.testing)
    assert found.value is not None and opposite.value is not None
    assert found.value > 0 > opposite.value
    assert found.verdict == "supported" and opposite.verdict == "not supported", found.reason


def test_without_a_class_nothing_is_claimed(bench):
    labels = replace(bench.study.labels, classes=["CrossD"] * bench.study.labels.n_features)
    found = asymmetry(bench.study.feature_map, labels, bench.testing)
    assert isinstance(found, Asymmetry) and found.verdict == "undecided" and found.value is None
    assert "No latent is labelled ImgD" in found.reason


def test_an_sae_of_another_site_is_refused(bench, small_sae, monkeypatch):
    study = Study.open(small_sae)
    elsewhere = {"image": "vision.hook_pooled", "text": "text.hook_pooled"}
    monkeypatch.setattr(type(study), "hook_names", property(lambda self: elsewhere))
    with pytest.raises(UserError, match=r"has vision.hook_pooled for its image side: train one"):
        Bench.of_twins(study)
