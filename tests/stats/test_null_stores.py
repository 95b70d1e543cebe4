"""Shuffled pairs and Gaussian activations: what they keep, and what is gone."""

import pytest
import torch
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats import compute_modality
from mm_sae_plugin.stats.carried.score import carried_dominance
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.intervals import score_values
from mm_sae_plugin.stats.null_stores import (
    GaussianPairs,
    ShuffledPairs,
    normal_rows,
    other_images,
)
from tests.stats.carried.worlds import world
from tests.stats.fakes import FakeFeatureMap, FakeStore, random_store


def joined(store: PairedActivations, chunk: int) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*store.iter_pairs(chunk), strict=True))


def captions_per_image(image_index: Tensor) -> Tensor:
    return torch.bincount(image_index)


# ------------------------------------------------------------------ shuffled pairs


@pytest.mark.parametrize("seed", range(5))
def test_captions_stay_together_beside_another_image_with_as_many(seed):
    own = random_store(n_images=80).image_index
    given = other_images(own, seed)
    assert not (given == own).any()
    # One image for one image, and none is left out.
    assert len(torch.unique(torch.stack([own, given], 1), dim=0)) == 80 == len(torch.unique(given))
    assert torch.equal(captions_per_image(given), captions_per_image(own))


def test_an_image_without_an_equal_is_moved_all_the_same():
    counts = torch.tensor([1, 1, 1, 1, 7, 1, 3, 9])
    own = torch.arange(8).repeat_interleave(counts)
    for seed in range(20):
        given = other_images(own, seed)
        assert not (given == own).any() and len(torch.unique(given)) == 8
        changed = captions_per_image(given)[counts == 1] != 1
        assert changed.sum() == 0, "images with equals keep their number of captions"


def test_two_images_change_places_and_one_is_refused():
    assert other_images(torch.tensor([4, 4, 9]), 0).tolist() == [9, 9, 4]
    with pytest.raises(UserError, match="no other image for its captions"):
        ShuffledPairs(FakeStore(torch.ones(1, 2), torch.ones(3, 2), torch.zeros(3).long()), 0)


def test_shuffled_pairs_are_a_store_whose_parts_agree():
    store = random_store()
    store.labels["colour"] = ["red"] * len(store.captions)
    shuffled = ShuffledPairs(store, 3)
    assert isinstance(shuffled, PairedActivations)
    for chunk in (1, 7, 1000):
        images, texts, index = joined(shuffled, chunk)
        assert torch.equal(index, shuffled.image_index)
        assert torch.equal(images, shuffled.image_rows()[index])
        assert torch.equal(texts, shuffled.text_rows())
    assert torch.equal(shuffled.text_rows(), store.texts)
    assert not shuffled.labels and shuffled.captions == store.captions
    assert not torch.equal(ShuffledPairs(store, 4).image_index, shuffled.image_index)


def test_no_mean_over_one_side_moves():
    store, features = random_store(n_images=300), FakeFeatureMap(12, 16)
    real = compute_modality(features, store)
    shuffled = compute_modality(features, ShuffledPairs(store, 0))
    for score in ("ratio_of_means", "frequency", "energy"):
        torch.testing.assert_close(score_values(real, score), score_values(shuffled, score))
    # The paper's score looks at both sides of a pair, and pairs matter here.
    assert (real.channel("fires_both") > 1.2 * shuffled.channel("fires_both")).all()
    assert not torch.allclose(
        score_values(real, "mean_of_ratios"), score_values(shuffled, "mean_of_ratios")
    )


def test_under_shuffled_pairs_nothing_is_heard():
    """Both sides always show the first two factors; the other side says nothing once shuffled."""
    pairs = world([(1, 1), (1, 1), (1, 0)], n_pairs=4000, captions=2)
    real = carried_dominance(pairs.latents("image"), pairs.store)
    assert real.heard.tolist() == [True, True, False]
    assert float(real.carry[:2].min()) > 0.8
    signals = []
    for seed in range(3):
        shuffled = ShuffledPairs(pairs.store, seed)
        found = carried_dominance(pairs.latents("image"), shuffled)
        assert not found.heard.any() and float(found.carry.max()) == 0
        assert found.decidable.all() and found.scores.tolist() == [1, 1, 1]
        assert found.signal is not None
        signals.append(found.signal)
    assert float(torch.cat(signals).abs().max()) < 3.5


def test_p_values_of_carry_are_those_of_chance_under_shuffled_pairs():
    """Small where the other side speaks; where it cannot, no smaller than chance makes them."""
    store = random_store(n_images=500, max_captions=2)
    features = FakeFeatureMap(12, 400)
    real = carried_dominance(features, store).p_value
    assert real is not None and float(real.median()) < 1e-4
    chance = carried_dominance(features, ShuffledPairs(store, 0)).p_value
    assert chance is not None and float((chance < 0.05).double().mean()) < 0.12
    assert float(chance.min()) > 1e-5


# ------------------------------------------------------------------ Gaussian activations


def joint(store: PairedActivations) -> Tensor:
    images, texts, _ = joined(store, 1000)
    return torch.cat([images, texts], dim=1).double()


def uneven_store(n_images: int) -> FakeStore:
    """Means and scales that differ, a skewed side, and a dimension that never varies."""
    store = random_store(n_images=n_images, d_in=5)
    store.images = store.images.exp() * torch.tensor([1.0, 2.0, 0.5, 1.0, 0.0]) + 3
    store.texts = store.texts @ torch.randn(5, 5, generator=torch.Generator().manual_seed(9)) - 1
    store.texts[:, 0] += 0.5 * store.images[store.image_index, 1]
    return store


def test_mean_and_covariance_are_those_of_the_pairs():
    store = uneven_store(20_000)
    real, drawn = joint(store), joint(GaussianPairs(store, 0))
    assert not torch.isclose(real, drawn, atol=1e-3).all(1).any()
    scale = real.std(0).clamp_min(1e-6)
    n_images = 20_000
    assert float(((drawn.mean(0) - real.mean(0)) / scale).abs().max()) < 5 / n_images**0.5
    off = (torch.cov(drawn.T) - torch.cov(real.T)) / torch.outer(scale, scale)
    assert float(off.abs().max()) < 9 / n_images**0.5
    assert float(drawn[:, 4].std()) < 1e-6
    skewness = (((real - real.mean(0)) / scale) ** 3).mean(0)[1]
    drawn_skewness = (((drawn - drawn.mean(0)) / scale) ** 3).mean(0)[1]
    assert float(skewness) > 2 and abs(float(drawn_skewness)) < 0.1


def test_rows_do_not_depend_on_how_they_are_cut():
    store = uneven_store(60)
    drawn = GaussianPairs(store, 2)
    assert isinstance(drawn, PairedActivations)
    whole = joined(drawn, 10_000)
    for chunk in (1, 7, 64):
        for part, expected in zip(joined(drawn, chunk), whole, strict=True):
            torch.testing.assert_close(part, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(drawn.image_rows()[drawn.image_index], whole[0])
    torch.testing.assert_close(drawn.text_rows(), whole[1])
    assert torch.equal(joined(GaussianPairs(store, 2), 7)[1], joined(drawn, 7)[1])
    other = joined(GaussianPairs(store, 3), 10_000)
    assert float((other[0] - whole[0]).abs().max(1).values.min()) > 1e-3
    assert drawn.open_image(0) is None and len(drawn.captions) == len(store.captions)


def test_rows_are_as_long_as_those_of_the_store():
    store = random_store(n_images=200)
    store.images = torch.nn.functional.normalize(store.images, dim=1)
    drawn = GaussianPairs(store, 0)
    torch.testing.assert_close(drawn.image_rows().norm(dim=1), torch.ones(200))
    assert float(drawn.text_rows().norm(dim=1).std()) > 0.1


def test_what_is_kept_does_not_grow_with_the_pairs():
    def n_numbers(n_images: int) -> int:
        moments = GaussianPairs(random_store(n_images=n_images), 0).moments
        return sum(t.numel() for t in vars(moments).values() if isinstance(t, Tensor))

    assert n_numbers(50) == n_numbers(500) == 12 + 12 + 3 * 144


def test_an_empty_or_infinite_store_is_refused():
    empty = FakeStore(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0).long())
    with pytest.raises(UserError, match="no image–caption pairs"):
        GaussianPairs(empty, 0)
    broken = random_store()
    broken.texts[3, 1] = float("inf")
    with pytest.raises(UserError, match="not finite"):
        GaussianPairs(broken, 0)


def test_normal_rows_are_normal_and_independent():
    rows = normal_rows(torch.arange(40_000), 6, 0)
    assert float(rows.mean(0).abs().max()) < 4 / 40_000**0.5
    assert float((torch.cov(rows.T) - torch.eye(6)).abs().max()) < 4 * 2**0.5 / 40_000**0.5
    assert abs(float((rows**4).mean()) - 3) < 0.1
    # Neighbouring rows and neighbouring seeds have nothing to do with each other.
    assert abs(float((rows[1:] * rows[:-1]).mean())) < 0.01
    assert abs(float((rows * normal_rows(torch.arange(40_000), 6, 1)).mean())) < 0.01
