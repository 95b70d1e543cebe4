"""What adding a latent does, and how well it is read."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.causal.resampling import Resamples
from mm_sae_plugin.applications.causal.steerability import steerability
from mm_sae_plugin.applications.causal.targets import (
    Targets,
    targets_of_examples,
    targets_of_truth,
)
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.stats.auroc import Auroc
from mm_sae_plugin.stats.truth import LatentTruth
from mm_sae_plugin.study import Study
from tests.applications.causal.planted import N_IMAGES, AxisMap, D, gallery
from tests.stats.fakes import FakeStore

RESAMPLES = Resamples.draw(N_IMAGES, 20, 500, 0.95, seed=0)
TRUTH = [
    LatentTruth(0, "image", "colour", "red", 0.9, True, 0.5, "CrossD"),
    LatentTruth(1, "text", "colour", "red", 0.1, False, 0.5, "CrossD"),
    LatentTruth(2, "image", "colour", "", 0.5, True, 0.5, "CrossD"),
    LatentTruth(34, "image", "tilt", "level", 0.8, True, 1.0, "ImgD"),
]


@pytest.fixture(scope="module")
def of_truth() -> Targets:
    return targets_of_truth(AxisMap(D), gallery(), TRUTH, 0.95)


def test_a_value_is_named_by_its_prompts_against_those_of_other_values(of_truth):
    prompts = gallery().prompts
    expected = prompts[:2].mean(0) - prompts[2:].mean(0)
    torch.testing.assert_close(of_truth.contrast[0], expected)
    assert of_truth.is_named.nonzero()[:, 0].tolist() == [0, 1]
    assert of_truth.n_captions[:3].tolist() == [2, 2, 0]
    assert of_truth.factor[34] == "tilt" and of_truth.value[34] == "level"
    assert of_truth.eta2[0] == 0.9 and np.isnan(of_truth.eta2[5])


def test_a_latent_is_read_on_its_own_side(of_truth):
    """Axis 0 is red; axis 1 is green, so that its code tells red only by being silent there."""
    assert of_truth.readability[0].value == 1
    assert of_truth.readability[0].n_positive == 20
    # Twenty red, twenty green, twenty blue: half of the others tie with red.
    assert of_truth.readability[1].value == 0.25
    # What no caption names is read all the same, where images show it.
    assert of_truth.readability[34].value == 1
    assert of_truth.readability[2].value is None and of_truth.readability[9].value is None


def test_the_right_direction_steers_and_a_wrong_one_steers_back(of_truth):
    found = steerability(AxisMap(D), gallery().images, of_truth, 0.25, RESAMPLES)
    assert found.low[0] > 0 > found.high[1]
    # Red apart from how prompts differ otherwise: nearly as well as the captions' own difference.
    assert 0.5 < found.of_best[0] < 1 and found.of_best[1] < 0
    assert found.low[0] <= found.effect[0] <= found.high[0]
    columns = found.columns()
    assert {len(column) for column in columns.values()} == {D}
    assert np.isnan(columns["steerability"][[2, 9, 34]]).all()


def test_the_effect_is_that_of_the_definition(of_truth):
    """Similarity with each caption before and after, one by one."""
    world, share = gallery(), 0.4
    found = steerability(AxisMap(D), world.images, of_truth, share, RESAMPLES)
    axis = torch.eye(D)[1]
    moved = normalize(world.images + share * axis, dim=1)
    rise = (moved - world.images) @ world.prompts.T
    expected = rise[:, :2].mean() - rise[:, 2:].mean()
    assert found.effect[1] == pytest.approx(float(expected), abs=1e-6)


def test_the_captions_own_difference_is_the_best():
    targets = targets_of_truth(AxisMap(D), gallery(), TRUTH, 0.95)

    class Along(AxisMap):
        @property
        def directions(self):
            return torch.where(targets.is_named[:, None], targets.contrast, torch.eye(D))

    found = steerability(Along(D), gallery().images, targets, 0.25, RESAMPLES)
    assert found.of_best[:2] == pytest.approx(1)


def test_adding_is_what_an_edit_does(small_sae):
    study = Study.open(small_sae)
    images = normalize(study.store.image_rows()[:30].float(), dim=1)
    latents = study.labels.alive.nonzero()[:3, 0].tolist()
    n = study.feature_map.n_features
    contrast = torch.randn(n, images.shape[1], generator=torch.Generator().manual_seed(0))
    none = (Auroc(None, None, None, 0, 0),) * n
    blank = ("",) * n
    named = torch.ones(n, dtype=torch.bool)
    targets = Targets(
        "examples", contrast, named, named.long(), none, blank, blank, np.full(n, np.nan)
    )
    resamples = Resamples.draw(30, 20, 500, 0.95, seed=0)
    found = steerability(study.feature_map, images, targets, 0.3, resamples)
    for latent in latents:
        edit = FeatureEdit.add(study, 1.0, latents=[latent])
        edit = type(edit)(edit.steps, edit.sae_id, edit.weights_id, relative_norm=0.3)
        with torch.no_grad():
            moved = normalize(AppliedEdit(study, edit).vectors(images, "image")[0], dim=1)
        expected = float(((moved - images) @ contrast[latent]).mean())
        assert found.effect[latent] == pytest.approx(expected, abs=1e-5)


def test_without_truth_captions_on_which_it_fires_stand_for_it():
    world = gallery()
    generator = torch.Generator().manual_seed(0)
    texts = world.captions.clone()
    # Axis 0 fires strongest on three captions of the store.
    strongest = torch.tensor([0, 32, 6])
    texts[strongest, 0] *= torch.tensor([3.0, 4.0, 5.0])
    order = torch.randperm(N_IMAGES, generator=generator)
    store = FakeStore(world.images, texts[order], order)
    alive = torch.ones(D, dtype=torch.bool)
    alive[5] = False
    targets = targets_of_examples(AxisMap(D), store, world, alive, 3, 0.95)
    expected = normalize(texts[strongest], dim=1).mean(0) - world.captions.mean(0)
    torch.testing.assert_close(targets.contrast[0], expected)
    # Axis 4 fires on two captions, axis 34 on none, and latent 5 is not asked about.
    assert targets.n_captions[[0, 4, 5, 34]].tolist() == [3, 2, 0, 0]
    assert targets.is_named.tolist() == [bool(n) for n in targets.n_captions]
    # What fires on a caption fires on its image.
    assert targets.readability[0].value == 1 and targets.readability[5].value is None
    found = steerability(AxisMap(D), world.images, targets, 0.25, RESAMPLES)
    assert found.low[0] > 0 and np.isnan(found.effect[34])


def test_what_is_told_in_sum_is_strict_json(of_truth):
    found = steerability(AxisMap(D), gallery().images, of_truth, 0.25, RESAMPLES)
    classes = ["CrossD", "TextD", "ImgD"] + ["Dead"] * 37
    record = found.record(classes)
    assert json.loads(json.dumps(record, allow_nan=False))
    assert record["n_steered"] == 2 and record["n_steering"] == record["n_both"] == 1
    assert record["by_class"]["ImgD"]["steerability"] is None
    assert set(record["by_class"]) == {"CrossD", "TextD", "ImgD"}
    assert record["rank_correlation"] == {"value": None, "n": 2}
