"""What a first pass keeps is what a second one would encode."""

import dataclasses
import pickle

import pytest
import torch

from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.stats import Reading, run_pass
from mm_sae_plugin.stats.carried.first_pass import FirstPass, first_sums
from mm_sae_plugin.stats.carried.score import read_carried
from mm_sae_plugin.stats.interfaces import PairRows
from mm_sae_plugin.stats.kept_codes import KeptCodes
from mm_sae_plugin.stats.passes import pair_parts
from tests.stats.carried.worlds import world
from tests.stats.fakes import FakeFeatureMap, FakeStore, random_store

N = 40


class Sparse(FakeFeatureMap):
    """Keeps two codes of a row."""

    def encode(self, x, modality):
        codes = super().encode(x, modality)
        kept = codes.topk(2, dim=-1)
        return torch.zeros_like(codes).scatter_(-1, kept.indices, kept.values)


def kept_of(
    store: FakeStore,
    most_bytes: int = 10**9,
    feature_map: FeatureMap | None = None,
    part_size: int = 17,
) -> KeptCodes:
    feature_map = feature_map or Sparse(12, N)
    reading = Reading(feature_map, {"kept": KeptCodes(feature_map.n_features, most_bytes)})
    (taken,) = run_pass(store, [reading], part_size=part_size)
    kept = taken["kept"]
    assert isinstance(kept, KeptCodes)
    return kept


def batches(store: FakeStore, size: int = 17) -> list[PairRows]:
    return list(pair_parts(store, size))


def dense(active) -> torch.Tensor:
    codes = torch.zeros(active.n_rows, active.n_features)
    codes[active.rows, active.latents] = active.values
    return codes


@pytest.mark.parametrize("captions_apart", [False, True])
def test_what_is_kept_are_the_codes(captions_apart):
    store = random_store(n_images=60)
    if captions_apart:
        order = torch.randperm(len(store.texts), generator=torch.Generator().manual_seed(0))
        store = dataclasses.replace(
            store, texts=store.texts[order], image_index=store.image_index[order]
        )
    known, feature_map = kept_of(store).known(), Sparse(12, N)
    for rows in batches(store):
        active = known.active_of(rows)
        assert active is not None
        assert torch.equal(dense(active["image"]), feature_map.encode(rows.acts_image, "image"))
        assert torch.equal(dense(active["text"]), feature_map.encode(rows.acts_text, "text"))
        assert active["text"].latents.dtype == torch.int64


def test_pairs_that_were_not_kept_are_not_known():
    store = random_store(n_images=60)
    first, second, *_ = batches(store)
    kept = kept_of(store)
    n_bytes = sum(tensor.nbytes for tensor in kept.state_dict().values())
    # One part less has room.
    known = kept_of(store, most_bytes=n_bytes - 1).known()
    assert [known.active_of(rows) is None for rows in batches(store)] == (
        [False] * (len(batches(store)) - 1) + [True]
    )
    assert kept_of(store, most_bytes=0).known().active_of(first) is None
    # Other batches than those of the first pass.
    other = PairRows(*(getattr(second, f.name)[3:] for f in dataclasses.fields(PairRows)))
    assert kept.known().active_of(other) is None
    swapped = dataclasses.replace(first, pair_index=first.pair_index.flip(0))
    assert kept.known().active_of(swapped) is None


def test_dense_codes_are_not_kept():
    kept = kept_of(random_store(n_images=30), feature_map=FakeFeatureMap(12, N))
    assert not kept.state_dict()


def test_what_is_kept_travels_to_other_processes():
    kept = kept_of(random_store(n_images=30))
    again = pickle.loads(pickle.dumps(kept)).state_dict()
    state = kept.state_dict()
    assert len(state) > 7 and all(torch.equal(t, again[name]) for name, t in state.items())


class Counting:
    """A feature map that counts the rows it encodes."""

    def __init__(self, feature_map: FeatureMap) -> None:
        self.feature_map, self.n_encoded = feature_map, 0
        self.n_features = feature_map.n_features

    def encode(self, acts, modality):
        self.n_encoded += len(acts)
        return self.feature_map.encode(acts, modality)


def test_a_second_pass_encodes_only_what_is_not_known_and_counts_the_same():
    rates = [(1.0, 1.0), (1.0, 0.4), (0.4, 1.0), (1.0, 0.0)]
    pairs = world(rates, n_pairs=6000, n_values=12)
    feature_map = Counting(pairs.latents("image"))
    sums = first_sums(pairs.store, 4)
    (taken,) = run_pass(pairs.store, [Reading(feature_map, sums)], part_size=4096)
    first = FirstPass.of(feature_map, taken)
    states, n_encoded = [], []
    # Known are all pairs, those of the first part, or none.
    for most_bytes in (10**9, 150_000, 0):
        kept = kept_of(pairs.store, most_bytes, feature_map, part_size=4096)
        feature_map.n_encoded = 0
        again = dataclasses.replace(first, known=kept.known())
        (found,) = read_carried([again], pairs.store)
        states.append(found.state_dict())
        n_encoded.append(feature_map.n_encoded)
    assert n_encoded == [0, 2 * (6000 - 4096), 2 * 6000]
    for state in states[:-1]:
        for name, tensor in states[-1].items():
            assert torch.equal(tensor.nan_to_num(7), state[name].nan_to_num(7))
