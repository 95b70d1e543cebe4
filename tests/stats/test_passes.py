"""One pass, any accumulators: parts merge to the whole, in threads and in processes."""

import pickle

import pytest
import torch

from mm_sae_plugin.engines import ProcessEngine, ThreadEngine
from mm_sae_plugin.features import RawDimensions, SAEFeatureMap
from mm_sae_plugin.stats import (
    EvaluationSums,
    ExampleRows,
    ModalityStatistics,
    Reading,
    TruthSums,
    run_pass,
    top_examples,
)
from mm_sae_plugin.stats.passes import PassTask, pair_parts
from mm_sae_plugin.training import evaluate_per_modality
from tests.saes.tiny import tiny_sae
from tests.stats.fakes import FakeFeatureMap, FakeStore, random_store


def labelled_store(**options) -> FakeStore:
    store = random_store(n_images=90, **options)
    n = len(store.texts)
    store.labels["drawn.hue"] = ["red" if i % 3 else "" for i in range(n)]
    store.labels["said.hue"] = ["red" if i % 2 else "blue" for i in range(n)]
    store.captions = [f"caption {i % 50}" for i in range(n)]
    return store


def reading(store: FakeStore) -> Reading:
    feature_map = FakeFeatureMap(12, 24)
    return Reading(
        feature_map,
        {
            "modality": ModalityStatistics(24),
            "evaluation": EvaluationSums(),
            "examples": ExampleRows.of(store),
            "truth": TruthSums.of(store, ["hue"], 24),
        },
    )


def states(taken) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": tensor
        for name, accumulator in taken.items()
        for key, tensor in accumulator.state_dict().items()
    }


def test_every_engine_gives_the_same_bits():
    store = labelled_store()
    (alone,) = run_pass(store, [reading(store)], part_size=17)
    for engine in (ThreadEngine(3), ProcessEngine(2)):
        (taken,) = run_pass(store, [reading(store)], engine, part_size=17)
        expected, found = states(alone), states(taken)
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            assert torch.equal(tensor, found[name]), (engine, name)


def test_the_task_pickles_and_changes_none_of_its_seeds():
    store = labelled_store()
    task = PassTask((reading(store),))
    part = next(pair_parts(store, 30))
    (there,) = pickle.loads(pickle.dumps(task))(part)
    (here,) = task(part)
    for name, tensor in states(here).items():
        assert torch.equal(tensor, states(there)[name]), name
    seed = task.readings[0].accumulators["modality"]
    assert isinstance(seed, ModalityStatistics) and seed.n_pairs == 0


@pytest.mark.parametrize("part_size", [5, 1000])
def test_examples_are_the_largest_codes_and_captions_are_shown_once(part_size):
    store = labelled_store()
    feature_map = FakeFeatureMap(12, 24)
    rows = Reading(feature_map, {"examples": ExampleRows.of(store, n_top=4)})
    (taken,) = run_pass(store, [rows], part_size=part_size)
    accumulator = taken["examples"]
    assert isinstance(accumulator, ExampleRows)
    examples = accumulator.examples([3, 11])
    image_codes = feature_map.encode(store.images, "image")
    first = {caption: row for row, caption in reversed(list(enumerate(store.captions)))}
    text_codes = feature_map.encode(store.texts, "text")
    text_codes[[row for row in range(len(store.texts)) if first[store.captions[row]] != row]] = 0
    for number, latent in enumerate([3, 11]):
        for codes, row, value in (
            (image_codes, examples.image_rows[number], examples.image_values[number]),
            (text_codes, examples.text_rows[number], examples.text_values[number]),
        ):
            expected, where = codes[:, latent].sort(descending=True, stable=True)
            torch.testing.assert_close(value, expected[:4].clamp_min(0))
            fires = value > 0
            assert torch.equal(row[fires], where[:4][fires])
    assert torch.equal(top_examples(feature_map, store, [3, 11], 4).text_rows, examples.text_rows)


def test_a_latent_that_never_fires_has_no_examples():
    store = labelled_store()
    examples = top_examples(FakeFeatureMap(12, 24, bias=-1e6), store, [0])
    assert not examples.image_values.any() and not examples.text_values.any()


@pytest.mark.parametrize("normalize", [None, "layer_norm"])
def test_evaluation_counts_each_image_once_as_evaluation_in_memory_does(normalize):
    store = random_store(n_images=70, d_in=8)
    sae = tiny_sae()
    if normalize:
        sae.cfg.normalize_activations = normalize
        sae.__init__(sae.cfg)
    reading = Reading(SAEFeatureMap(sae), {"evaluation": EvaluationSums()})
    (taken,) = run_pass(store, [reading], ThreadEngine(3), part_size=13)
    sums = taken["evaluation"]
    assert isinstance(sums, EvaluationSums)
    found, expected = sums.evaluation(), evaluate_per_modality(sae, store.images, store.texts)
    assert found.n_rows == expected.n_rows == {"image": 70, "text": len(store.texts)}
    assert found.n_never_firing == expected.n_never_firing
    assert found.n_never_firing_by_modality == expected.n_never_firing_by_modality
    for modality in ("image", "text"):
        assert found.l0[modality] == pytest.approx(expected.l0[modality])
        assert found.explained_variance[modality] == pytest.approx(
            expected.explained_variance[modality], rel=1e-6
        )


def test_raw_dimensions_reconstruct_everything():
    store = random_store()
    reading = Reading(RawDimensions(12), {"evaluation": EvaluationSums()})
    (taken,) = run_pass(store, [reading])
    sums = taken["evaluation"]
    assert isinstance(sums, EvaluationSums)
    assert sums.evaluation().explained_variance == {"image": 1.0, "text": 1.0}
