"""The pairs that everything is measured on."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.causal.gallery import GALLERY_SEED, Gallery, gallery_of
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.models import load_model
from mm_sae_plugin.study import Study
from tests.stats.fakes import FakeStore


def test_images_of_a_store_come_with_all_their_captions():
    generator = torch.Generator().manual_seed(0)
    image_index = torch.arange(50).repeat_interleave(torch.arange(50) % 3 + 1)
    # Captions of one image lie far apart.
    image_index = image_index[torch.randperm(len(image_index), generator=generator)]
    images = torch.randn(60, 8, generator=generator)
    texts = torch.randn(len(image_index), 8, generator=generator)
    store = FakeStore(images, texts, image_index)
    found = Gallery.of_store(store, 30, seed=1)
    assert found.images.shape == (30, 8) and not found.is_held_out and not found.questions
    units = normalize(images, dim=1)
    rows = [int((units == row).all(1).nonzero()) for row in found.images]
    assert rows == sorted(set(rows)) and max(rows) < 50
    for place, row in enumerate(rows):
        expected = normalize(texts[image_index == row], dim=1)
        assert torch.equal(found.captions[found.image_of == place], expected)
    assert torch.equal(Gallery.of_store(store, 30, seed=1).images, found.images)
    assert not torch.equal(Gallery.of_store(store, 30, seed=2).images, found.images)
    # No more than there are; images without captions are none.
    assert len(Gallery.of_store(store, 500, seed=1).images) == 50


def test_too_few_images_are_refused():
    store = FakeStore(torch.randn(5, 8), torch.randn(30, 8), torch.arange(30) % 5)
    with pytest.raises(UserError, match=r"holds 5 images with captions: .* 20 at least"):
        Gallery.of_store(store, 30, seed=0)


def test_fresh_pairs_of_the_world_know_their_truth():
    model = load_model("factorworld")
    found = Gallery.of_world(model, 24, 2, GALLERY_SEED)
    world = FactorWorld(GALLERY_SEED)
    scenes = [world.scene(index) for index in range(24)]
    assert found.is_held_out and [q.factor.name for q in found.questions] == list(FACTORS)
    for question in found.questions:
        values = (*question.factor.values, "")
        name = question.factor.name
        assert [values[n] for n in question.shown] == [s.drawn.get(name, "") for s in scenes]
        assert [values[n] for n in question.said] == [s.said.get(name, "") for s in scenes]
        n_prompts = question.prompts.stop - question.prompts.start
        assert n_prompts == (2 * len(question.factor.values) if question.factor.said else 0)
    asked = {q.factor.name for q in found.asked}
    assert "object" in asked and not asked & {"tilt", "grain", "skin", "signoff", "ending"}
    assert found.questions[-1].prompts.stop == len(found.prompts)
    lengths = torch.cat([found.images, found.captions, found.prompts]).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(len(lengths)), atol=1e-5)
    expected = model.encode_image([world.draw(0)], True)
    assert torch.allclose(found.images[:1], expected, atol=1e-5)


def test_pairs_are_fresh_where_the_world_is_known(small_sae, monkeypatch):
    study = Study.open(small_sae)
    found = gallery_of(study, 20, 1, seed=0)
    assert found.is_held_out and str(GALLERY_SEED) in found.source
    # A store of that very world is not held out from itself.
    manifest = replace(study.store.manifest, source=f"factorworld:9:{GALLERY_SEED}")
    monkeypatch.setattr(study.store, "manifest", manifest)
    assert str(GALLERY_SEED + 2) in gallery_of(study, 20, 1, seed=0).source
