"""Co-activation against pairs that are really shuffled."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from mm_sae_plugin.stats import ModalityStatistics, compute_modality
from mm_sae_plugin.stats.coactivation import coactivation_null
from mm_sae_plugin.stats.null_stores import ShuffledPairs
from tests.stats.fakes import FakeStore, IdentityMap


def statistics(image: Tensor, text: Tensor, image_id: Tensor) -> ModalityStatistics:
    stats = ModalityStatistics(image.shape[1])
    stats.update(image, text, image_id)
    return stats


def firing_store(
    n_images: int, n_features: int, n_captions: int | None, rate: float = 0.15
) -> FakeStore:
    """Sides that fire independently; captions of one image fire together, and where images have one
    to five of them, images of many captions fire more often.
    """
    generator = torch.Generator().manual_seed(0)
    captions = torch.randint(1, 6, (n_images,), generator=generator)
    captions = captions if n_captions is None else torch.full_like(captions, n_captions)
    index = torch.arange(n_images).repeat_interleave(captions)

    def draw(n: int, at: Tensor | float) -> Tensor:
        return (torch.rand(n, n_features, generator=generator) < at).float()

    images = draw(n_images, rate * captions[:, None] / captions.float().mean())
    texts = draw(n_images, 0.4)[index] * draw(len(index), 0.5)
    return FakeStore(images, texts, index)


def test_with_one_caption_the_tail_is_that_of_all_permutations():
    image = torch.tensor([1.0, 1, 1, 0, 0, 0, 0])[:, None]
    text = torch.tensor([1.0, 1, 0, 1, 0, 0, 0])[:, None]
    null = coactivation_null(statistics(image, text, torch.arange(7)))
    shuffled = [float((image[list(order)] * text).sum()) for order in permutations(range(7))]
    assert null.observed.item() == 2
    assert null.expected.item() == pytest.approx(sum(shuffled) / len(shuffled))
    tail = sum(count >= 2 for count in shuffled) / len(shuffled)
    assert null.p_value.item() == pytest.approx(tail)


@pytest.mark.parametrize("n_captions", [1, 4])
def test_the_mean_and_the_tail_are_those_of_shuffled_pairs(n_captions):
    store, identity = firing_store(200, 12, n_captions), IdentityMap(12)
    null = coactivation_null(compute_modality(identity, store))
    counts = torch.stack(
        [
            compute_modality(identity, ShuffledPairs(store, seed)).channel("fires_both")
            for seed in range(150)
        ]
    )
    spread = counts.std(0)
    # 150 shuffles know the mean to 8% of the spread.
    assert float(((counts.mean(0) - null.expected) / spread).abs().max()) < 0.3
    tail = (counts >= null.observed).double().mean(0)
    assert float((tail - null.p_value).abs().max()) < 0.15
    assert float((tail - null.p_value).abs().mean()) < 0.05


@pytest.mark.parametrize(("n_captions", "most"), [(1, 0.05), (5, 0.06), (None, 0.075)])
def test_unrelated_sides_seldom_speak(n_captions, most):
    store = firing_store(400, 3000, n_captions)
    p_value = coactivation_null(compute_modality(IdentityMap(3000), store)).p_value
    # Counts are whole numbers, so the exact test speaks less often than it may.
    assert 0.025 < float((p_value <= 0.05).double().mean()) < most
    assert float((p_value <= 0.001).double().mean()) < 0.003


def test_rare_firings_speak_no_more_often():
    store = firing_store(400, 3000, 5, rate=0.01)
    p_value = coactivation_null(compute_modality(IdentityMap(3000), store)).p_value
    assert float((p_value <= 0.05).double().mean()) < 0.06
    assert float((p_value <= 0.001).double().mean()) < 0.004


@pytest.mark.parametrize("n_captions", [1, 3])
def test_pairs_that_belong_together_speak(n_captions):
    store = firing_store(400, 20, n_captions)
    together = FakeStore(store.images, store.images[store.image_index], store.image_index)
    null = coactivation_null(compute_modality(IdentityMap(20), together))
    assert float(null.p_value.max()) < 1e-6
    assert (null.observed > 3 * null.expected).all()


@pytest.mark.parametrize("n_captions", [1, 3])
def test_silence_and_constant_firing_are_no_evidence(n_captions):
    index = torch.arange(30).repeat_interleave(n_captions)
    always, never = torch.ones(len(index)), torch.zeros(len(index))
    some = (index % 3 == 0).float()
    image = torch.stack([never, always, some, never], dim=1)
    text = torch.stack([some, some, always, never], dim=1)
    null = coactivation_null(statistics(image, text, index))
    assert null.p_value.tolist() == pytest.approx([1, 1, 1, 1])
