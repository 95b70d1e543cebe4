"""Whole images of a store, drawn at random."""

import torch

from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.sampled import (
    SampledPairs,
    draw_images,
    pairs_of_images,
    sampled_pairs,
)
from tests.stats.fakes import random_store


def test_images_come_with_all_their_captions_in_the_order_of_the_store():
    store = random_store(n_images=200)
    store.labels["number"] = [str(i) for i in range(len(store.captions))]
    sample = sampled_pairs(store, 120, seed=0)
    assert isinstance(sample, SampledPairs) and isinstance(sample, PairedActivations)
    assert 100 < len(sample.image_index) <= 120
    for row, source_row in enumerate(sample.source_rows.tolist()):
        here = (sample.image_index == row).nonzero()[:, 0]
        there = (store.image_index == source_row).nonzero()[:, 0]
        assert torch.equal(sample.images[row], store.images[source_row])
        assert torch.equal(sample.texts[here], store.texts[there])
        for mine, theirs in zip(here.tolist(), there.tolist(), strict=True):
            assert sample.captions[mine] == store.captions[theirs]
            assert sample.labels["number"][mine] == str(theirs)
        assert sample.image_ids[row] == store.image_ids[source_row]
        picture, original = sample.open_image(row), store.open_image(source_row)
        assert picture is not None and original is not None
        assert picture.tobytes() == original.tobytes()
    assert (sample.image_index.diff() >= 0).all()


def test_chunks_join_to_the_whole():
    sample = sampled_pairs(random_store(n_images=90), 60, seed=1)
    images, texts, index = (torch.cat(parts) for parts in zip(*sample.iter_pairs(7), strict=True))
    assert torch.equal(index, sample.image_index)
    assert torch.equal(images, sample.image_rows()[index])
    assert torch.equal(texts, sample.text_rows())


def test_a_small_store_is_taken_whole_and_another_seed_draws_others():
    store = random_store()
    assert sampled_pairs(store, len(store.captions), 0) is store
    drawn = [sampled_pairs(store, 50, seed).image_ids for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_two_images_are_drawn_however_many_captions_they_have():
    assert len(sampled_pairs(random_store(), 1, seed=0).image_ids) == 2


def test_a_store_whose_captions_lie_apart_is_sampled_too():
    store = random_store(n_images=50)
    mixed = torch.randperm(len(store.captions), generator=torch.Generator().manual_seed(0))
    store.image_index, store.texts = store.image_index[mixed], store.texts[mixed]
    sample = sampled_pairs(store, 60, seed=0)
    assert isinstance(sample, SampledPairs)
    kept = torch.isin(store.image_index, sample.source_rows)
    assert torch.equal(sample.source_rows[sample.image_index], store.image_index[kept])
    assert torch.equal(sample.texts, store.texts[kept])
    assert torch.equal(sample.images, store.images[sample.source_rows])


def test_a_draw_of_images_is_seeded_and_none_means_all():
    assert torch.equal(draw_images(50, 10, 1), draw_images(50, 10, 1))
    assert not torch.equal(draw_images(50, 10, 1), draw_images(50, 10, 2))
    for n in (None, 50, 90):
        assert torch.equal(draw_images(50, n, 0), torch.arange(50))


def test_chosen_images_are_numbered_anew_and_all_of_them_are_the_store():
    store = random_store()
    images = draw_images(60, 20, seed=0)
    chosen = pairs_of_images(store, images)
    assert len(images) == 20 and torch.equal(images, images.unique())
    pairs = torch.isin(store.image_index, images).nonzero().flatten().tolist()
    assert chosen.captions == [store.captions[pair] for pair in pairs]
    assert chosen.image_ids == [store.image_ids[row] for row in images]
    assert torch.equal(images[torch.as_tensor(chosen.image_index)], store.image_index[pairs])
    assert pairs_of_images(store, torch.arange(60)) is store
