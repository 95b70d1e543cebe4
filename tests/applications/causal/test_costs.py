"""Latents removed from a planted world, whose cost is known."""

import json

import numpy as np
import pytest
import torch

from mm_sae_plugin.applications.causal.arms import Arm
from mm_sae_plugin.applications.causal.costs import CostTable, cost_rows
from mm_sae_plugin.applications.causal.outcomes import Measures
from mm_sae_plugin.applications.causal.removing import Norms, Removing, on_side
from mm_sae_plugin.applications.causal.resampling import Resamples
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.matched_sets import matched_sets
from tests.applications.causal.planted import N_IMAGES, AxisMap, D, gallery, mask

COLOURS, OWN, TILTS = (0, 1, 2), tuple(range(3, 33)), (34, 35)
SOME, SILENT = (3, 7, 12, 20), (37, 38)


@pytest.fixture(scope="module")
def labels() -> ModalityDominance:
    world = gallery()
    stats = ModalityStatistics(D)
    stats.update(world.images.clamp_min(0), world.captions.clamp_min(0), torch.arange(N_IMAGES))
    return ModalityDominance.from_statistics(stats, min_activations=1)


@pytest.fixture(scope="module")
def table() -> CostTable:
    world = gallery()
    resamples = Resamples.draw(N_IMAGES, 20, 500, 0.95, seed=0)
    return CostTable(Removing(AxisMap(D), world), Measures(world), resamples)


@pytest.fixture(scope="module")
def rows(table, labels):
    sets = {"colours": COLOURS, "own": OWN, "some": SOME, "silent": SILENT, "none": ()}
    arms = [Arm(name, "frequency", mask(*latents), 2) for name, latents in sets.items()]
    return {(row.name, row.side): row for row in cost_rows(table, arms, labels, seed=0)}


def test_a_set_without_latents_has_no_row(rows):
    assert not any(name == "none" for name, _ in rows)
    assert len(rows) == 1 + 3 + 4 * 3


def test_what_is_reconstructed_wholly_costs_nothing(rows):
    """The planted dictionary misses nothing, so that its reconstruction is the model itself."""
    for side in ("image", "text", "both"):
        costs = rows["reconstruction only", side].costs
        assert {cost["class"].value for cost in costs.values()} == {0}
        assert set(costs["retrieval"]) == {"class"}


def test_the_latents_that_carry_a_task_cost_it(rows):
    """Colours are all that zero-shot asks; two images of one own axis differ in nothing else."""
    for side in ("image", "text", "both"):
        colours = rows["colours", side]
        assert colours.costs["zero_shot"]["class"].value == 1
        assert colours.costs["retrieval"]["class"].value == 1
        assert colours.measures["zero_shot"].difference.value == -1
    own = rows["own", "both"]
    assert own.costs["zero_shot"]["class"].value == 0
    assert own.costs["retrieval"]["class"].value == 1


def test_costs_are_divided_by_latents_concepts_and_energy(rows):
    row = rows["own", "both"]
    costs = {per: one.value for per, one in row.costs["retrieval"].items()}
    assert costs["latent"] == pytest.approx(costs["class"] / 30)
    assert costs["concept"] == pytest.approx(costs["class"] / 2)
    image = 0.64 / (1 + 0.64 + 0.25 + 0.09)
    text = 0.64 / (1 + 0.64 + 0.25)
    assert rows["own", "image"].energy.value == pytest.approx(image, abs=1e-6)
    assert rows["own", "text"].energy.value == pytest.approx(text, abs=1e-6)
    assert row.energy.value == pytest.approx((image + text) / 2, abs=1e-6)
    assert costs["energy"] == pytest.approx(costs["class"] / row.energy.value)


def test_what_never_fires_costs_nothing_and_nothing_per_energy(rows):
    row = rows["silent", "both"]
    assert row.costs["retrieval"]["class"].value == 0 and row.energy.value == 0
    assert row.costs["retrieval"]["energy"].value is None
    assert {one.difference.value for one in row.measures.values()} == {0}


def test_random_sets_are_the_matched_ones(table, labels, rows):
    world, measures = gallery(), Measures(gallery())
    removing = Removing(AxisMap(D), world)
    sets = matched_sets(labels.statistics, mask(*SOME), labels.alive, 20, 0)
    assert sets.is_matched and rows["some", "both"].is_matched
    weights = Resamples.draw(N_IMAGES, 20, 500, 0.95, seed=0).images[:1]
    for side in ("image", "text", "both"):
        found = []
        for other in sets.masks:
            vectors = on_side(removing.unedited, removing.without(other), side)
            found.append(measures.values(measures.outcomes(vectors), weights)[0])
        expected = dict(zip(measures.names, np.mean(found, axis=0), strict=True))
        for name, one in rows["some", side].measures.items():
            assert one.random == pytest.approx(expected[name], abs=1e-6)
            beyond = one.value.value - expected[name]
            assert one.beyond_random.value == pytest.approx(beyond, abs=1e-6)
            assert 1 / 21 <= one.share_as_low <= 1


def test_what_has_no_like_is_compared_at_equal_distance(table, labels, rows):
    row = rows["colours", "image"]
    assert row.is_matched is False and row.mismatch["fires_image"] is not None
    removing = Removing(AxisMap(D), gallery())
    norms = removing.norms(mask(*COLOURS))
    for latents in (COLOURS, OWN):
        moved = removing.without(mask(*latents), norms)
        # All of these rows have exactly one such axis: how far it goes is the mean of all.
        cosine = (moved.images * gallery().images).sum(1)
        assert float(cosine.std()) < 1e-6
    # Moved as far, the colours still cost all of it and random latents less.
    assert row.measures["zero_shot"].beyond_random.high < 0
    assert row.measures["zero_shot"].share_as_low == pytest.approx(1 / 21)


def test_norms_say_how_far_each_modality_goes():
    removing = Removing(AxisMap(D), gallery())
    moved = removing.without(mask(*COLOURS), Norms(0.1, 0.0))
    assert torch.allclose(moved.captions, gallery().captions)
    expected = gallery().images.clone()
    colour = expected[:, :3].clamp_max(0.1)
    expected[:, :3] -= colour
    expected /= expected.norm(dim=1, keepdim=True)
    assert torch.allclose(moved.images, expected, atol=1e-6)


def test_the_gap_closes_without_the_latents_of_one_modality(table, labels):
    (arm,) = [Arm("gap", "frequency", mask(33, 34, 35, 36))]
    both = next(row for row in table.removed(arm, labels, 0) if row.side == "both")
    gap = both.measures["modality_gap"]
    assert gap.value.value == pytest.approx(0, abs=1e-6)
    assert gap.difference.high < 0


def test_rows_are_strict_json(rows):
    assert json.loads(json.dumps([row.record() for row in rows.values()], allow_nan=False))
