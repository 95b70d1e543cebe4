"""Carried dominance against worlds of known rates, through both passes."""

import dataclasses
import pickle

import pytest
import torch

from mm_sae_plugin.engines import ThreadEngine
from mm_sae_plugin.stats.carried.groups import N_GROUPS, fold_of, image_groups
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from mm_sae_plugin.stats.carried.probes import fit_probes
from mm_sae_plugin.stats.carried.readings import ReadingCounts
from mm_sae_plugin.stats.carried.result import CarriedDominance
from mm_sae_plugin.stats.carried.score import CarriedConfig, carried_dominance
from tests.stats.carried.worlds import world

GRADED = [(1.0, 1.0), (1.0, 0.4), (1.0, 0.15), (0.4, 1.0), (0.4, 0.4), (0.7, 0.7), (1.0, 0.0)]


def truth(rates: list[tuple[float, float]]) -> torch.Tensor:
    return torch.tensor([drawn / (drawn + said) for drawn, said in rates], dtype=torch.float64)


@pytest.mark.parametrize("extra", [0, 7])
@pytest.mark.parametrize("n_values", [2, 6])
def test_either_half_of_a_split_concept_has_the_concepts_dominance(n_values, extra):
    pairs = world(GRADED, n_values=n_values, extra=extra)
    expected = truth(GRADED)
    image = carried_dominance(pairs.latents("image"), pairs.store)
    assert image.on_image.all() and image.decidable.all()
    assert image.scores == pytest.approx(expected, abs=0.05)
    text = carried_dominance(pairs.latents("text"), pairs.store)
    # The last factor is never said, so its half for captions never fires.
    assert text.scores[:-1] == pytest.approx(expected[:-1], abs=0.05)
    assert not text.decidable[-1] and text.scores[-1].isnan()
    assert text.intervals[-1].tolist() == [0, 1]


def test_intervals_hold_the_truth():
    hit, decided = 0, 0
    for seed in range(6):
        pairs = world(GRADED, n_pairs=6000, seed=seed)
        found = carried_dominance(pairs.latents("image"), pairs.store)
        low, high = found.intervals.T
        inside = (low - 1e-9 <= truth(GRADED)) & (truth(GRADED) <= high + 1e-9)
        hit, decided = hit + int(inside.sum()), decided + int(found.decidable.sum())
        assert (high - low)[:-1].max() < 0.2
    assert decided == 6 * len(GRADED)
    assert hit >= 0.9 * decided


def test_labels_of_older_versions_know_no_signal():
    pairs = world(GRADED, n_pairs=2000)
    found = carried_dominance(pairs.latents("image"), pairs.store)
    state = found.state_dict()
    again = CarriedDominance.from_state_dict(state)
    assert again is not None and again.p_value is not None and found.p_value is not None
    assert torch.equal(again.p_value, found.p_value)
    older = CarriedDominance.from_state_dict(
        {name: tensor for name, tensor in state.items() if name != "carried.signal"}
    )
    assert older is not None and older.signal is None and older.p_value is None
    assert older.state_dict().keys() == state.keys() - {"carried.signal"}
    assert CarriedDominance.from_state_dict({}) is None


def test_captions_of_one_image_say_no_more_than_the_image():
    once = world(GRADED, n_pairs=2000)
    rows = torch.arange(2000).repeat_interleave(4)
    again = dataclasses.replace(
        once.store,
        texts=once.store.texts.repeat_interleave(4, 0),
        image_index=rows,
        captions=[],
        image_ids=[],
    )
    first = carried_dominance(once.latents("image"), once.store)
    fourfold = carried_dominance(once.latents("image"), again)
    assert fourfold.scores == pytest.approx(first.scores, abs=1e-6, nan_ok=True)
    assert fourfold.intervals == pytest.approx(first.intervals, abs=1e-6)


def test_shuffled_pairs_are_not_heard():
    heard, n = 0, 0
    for seed in range(3):
        pairs = world([(1.0, 1.0), (1.0, 0.4), (0.4, 1.0)] * 4, n_pairs=4000, seed=seed)
        order = torch.randperm(4000, generator=torch.Generator().manual_seed(seed))
        shuffled = dataclasses.replace(pairs.store, texts=pairs.store.texts[order])
        found = carried_dominance(pairs.latents("image"), shuffled)
        heard, n = heard + int(found.heard.sum()), n + len(found.heard)
        # Nothing carries them, so they are their own side's.
        assert (found.scores[found.decidable & ~found.heard] == 1).all()
    assert heard <= 0.05 * n


def test_a_latent_that_is_too_rare_to_be_answered_is_undecidable():
    pairs = world([(0.02, 0.02), (1.0, 0.0)], n_pairs=4000)
    found = carried_dominance(pairs.latents("image"), pairs.store)
    assert found.decidable.tolist() == [False, True]
    lenient = CarriedConfig(min_joint=1, min_rate=1.0)
    again = carried_dominance(pairs.latents("image"), pairs.store, lenient)
    assert again.decidable.all() and again.scores[0] == 1
    # Nothing was heard, yet it could be shared: the interval says so.
    assert again.intervals[0, 0] <= 0.5


def test_a_second_thread_changes_no_bit():
    pairs = world(GRADED[:3], n_pairs=9000)
    alone = carried_dominance(pairs.latents("image"), pairs.store)
    together = carried_dominance(pairs.latents("image"), pairs.store, engine=ThreadEngine(2))
    assert torch.equal(alone.scores, together.scores)
    assert torch.equal(alone.intervals, together.intervals)


def test_both_accumulators_travel_to_other_processes():
    moments = ProbeMoments.of(world(GRADED[:2], n_pairs=50).store, 2)
    counts = ReadingCounts(fit_probes(moments, ridge=1e-3))
    for accumulator in (moments, counts):
        again = pickle.loads(pickle.dumps(accumulator)).state_dict()
        assert all(torch.equal(t, again[name]) for name, t in accumulator.state_dict().items())


def test_groups_belong_to_images():
    index = torch.arange(1000).repeat_interleave(2)
    groups = image_groups(index)
    assert torch.equal(groups[::2], groups[1::2])
    assert torch.equal(image_groups(index[100:102]), groups[100:102])
    assert torch.bincount(groups, minlength=N_GROUPS).min() > 100
    assert set(fold_of(groups).tolist()) == {0, 1}
