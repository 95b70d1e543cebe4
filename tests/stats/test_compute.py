"""Statistics of a store: the same bits on any number of workers, whatever its order."""

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import RawDimensions
from mm_sae_plugin.stats import ModalityDominance, compute_modality, modality_gap_cosine
from tests.saes.tiny import tiny_sae
from tests.stats.fakes import FakeFeatureMap, FakeStore, IdentityMap, random_store


def assert_identical(a, b) -> None:
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


@pytest.fixture(scope="module")
def store() -> FakeStore:
    return random_store(n_images=150)


@pytest.fixture(scope="module")
def feature_map() -> FakeFeatureMap:
    return FakeFeatureMap(12, 24)


@pytest.mark.parametrize("n_workers", [2, 3, 8])
def test_bits_do_not_depend_on_the_number_of_workers(store, feature_map, n_workers):
    alone = compute_modality(feature_map, store, n_workers=1, chunk=29)
    assert_identical(alone, compute_modality(feature_map, store, n_workers=n_workers, chunk=29))


def test_chunks_do_not_change_the_result(store, feature_map):
    whole = compute_modality(feature_map, store, chunk=100_000)
    parts = compute_modality(feature_map, store, chunk=7)
    assert torch.equal(whole.channel("fires_both"), parts.channel("fires_both"))
    # Activations are float32, and a product of another height may round differently.
    torch.testing.assert_close(whole.second(), parts.second(), rtol=1e-5, atol=1e-9)
    assert whole.n_images == parts.n_images == len(store.images)


def test_the_number_of_threads_is_restored(store, feature_map):
    before = torch.get_num_threads()
    compute_modality(feature_map, store)
    assert torch.get_num_threads() == before


def test_captions_far_apart_are_brought_together(store, feature_map):
    order = torch.randperm(len(store.texts), generator=torch.Generator().manual_seed(1))
    shuffled = FakeStore(store.images, store.texts[order], store.image_index[order])
    stats = compute_modality(feature_map, shuffled, chunk=16)
    assert stats.n_images == len(store.images)
    expected = compute_modality(feature_map, store, chunk=16)
    torch.testing.assert_close(stats.second(), expected.second(), rtol=1e-5, atol=1e-9)


def test_an_empty_store_is_refused(feature_map):
    nothing = torch.zeros(0, 12)
    with pytest.raises(UserError, match="no image–caption pairs"):
        compute_modality(
            feature_map, FakeStore(nothing, nothing, torch.zeros(0, dtype=torch.int64))
        )


def test_signed_codes_are_refused(store):
    class Signed(IdentityMap):
        def encode(self, x, modality):
            return x

    with pytest.raises(UserError, match="non-negative"):
        compute_modality(Signed(12), store)


def test_swapping_sides_of_half_the_images_evens_the_scores():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(800, 5, generator=generator)
    store = FakeStore(images, 0.2 * images, torch.arange(800))
    biased = ModalityDominance.from_statistics(compute_modality(IdentityMap(5), store))
    assert float(biased.scores.min()) > 0.8
    swapped = compute_modality(IdentityMap(5), store, swap_seed=4)
    scores = ModalityDominance.from_statistics(swapped, rule="interval")
    assert scores.class_counts["CrossD"] == 5
    assert float((scores.scores - 0.5).abs().max()) < 0.05
    assert_identical(swapped, compute_modality(IdentityMap(5), store, swap_seed=4, n_workers=3))


def test_centring_removes_a_latent_of_the_modality_gap():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 500, 4, generator=generator) * 0.3
    offset = torch.tensor([1.0, 0.0, 0.0, 0.0])
    store = FakeStore(noise[0] + offset, noise[1] - offset, torch.arange(500))
    raw = compute_modality(IdentityMap(4), store)
    centred = compute_modality(IdentityMap(4), store, centre=raw.mean_acts)
    before = ModalityDominance.from_statistics(raw, rule="interval")
    after = ModalityDominance.from_statistics(centred, rule="interval")
    assert before.classes == ["ImgD", "CrossD", "CrossD", "CrossD"]
    assert after.classes == ["CrossD"] * 4


def test_gap_cosine_uses_directions_not_biases(store, feature_map):
    stats = compute_modality(feature_map, store)
    means = stats.mean_acts
    assert means is not None
    gap = (means[0] - means[1]).float()
    expected = torch.cosine_similarity(feature_map.w_dec, gap[None], dim=1)
    torch.testing.assert_close(
        modality_gap_cosine(feature_map, stats).float(), expected, atol=1e-4, rtol=1e-4
    )


def test_gap_cosine_needs_a_decoder(store):
    stats = compute_modality(IdentityMap(12), store)
    with pytest.raises(UserError, match="cannot decode"):
        modality_gap_cosine(IdentityMap(12), stats)


@pytest.mark.parametrize(
    ("swap", "message"),
    [
        (lambda fm, store: (fm, "st/ref"), r"not a str: give ActivationStore\.open\('st/ref'\)"),
        (lambda fm, store: (fm, None), "not None: give an ActivationStore"),
        (lambda fm, store: (tiny_sae(), store), r"give SAEFeatureMap\(sae, normalization\)"),
        (lambda fm, store: ("sae", store), "takes a feature map, not a str"),
        (lambda fm, store: (RawDimensions(64), store), "width 64, but these are 12 wide"),
    ],
)
def test_arguments_of_another_kind_are_refused(store, feature_map, any_types, swap, message):
    with pytest.raises(UserError, match=message):
        compute_modality(*swap(feature_map, store))
