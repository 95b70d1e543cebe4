"""Every comparator can be made, and answers the interface."""

import pytest
import torch
from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY

from mm_sae_plugin.applications.evaluation.comparators import (
    COMPARATORS,
    SAE_ARCHITECTURES,
    Like,
    build,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import FeatureMap
from tests.stats.fakes import FakeStore
from tests.training.synthetic import synthetic_pairs

LIKE = Like(d_sae=40, k=4, training_steps=40)


@pytest.fixture(scope="module")
def store() -> FakeStore:
    images, texts = synthetic_pairs(700)
    return FakeStore(images, texts, torch.arange(700))


def test_every_architecture_of_saelens_with_non_negative_codes_is_there():
    theirs = {
        name
        for name, (sae, _) in SAE_TRAINING_CLASS_REGISTRY.items()
        if sae.__module__.startswith("sae_lens.")
    }
    assert theirs - {"abstopk"} == set(SAE_ARCHITECTURES)


@pytest.mark.parametrize("name", COMPARATORS)
def test_a_comparator_is_a_feature_map(store, name):
    feature_map = build(name, store, LIKE, seed=1)
    assert isinstance(feature_map, FeatureMap)
    image = feature_map.encode(store.images[:50], "image")
    text = feature_map.encode(store.texts[:50], "text")
    assert image.shape == text.shape == (50, feature_map.n_features)
    assert bool((image >= 0).all()) and bool((text >= 0).all())
    assert bool((image > 0).any()) and bool((text > 0).any())


def test_comparators_have_the_size_of_the_sae(store):
    sizes = {name: build(name, store, LIKE).n_features for name in COMPARATORS}
    assert sizes["raw"] == sizes["pca"] == 64 and sizes["pca_k"] == 2 * LIKE.k
    assert sizes["nmf"] == 32 and sizes["ncl_shared"] == sizes["ncl_separate"] == 40
    assert 20 <= sizes["matched_saes"] <= 40
    assert {sizes[f"sae_{name}"] for name in SAE_ARCHITECTURES} == {40}


def test_the_size_is_read_off_a_config():
    from sae_lens import JumpReLUSAEConfig, TopKSAEConfig

    assert Like.of(TopKSAEConfig(d_in=8, d_sae=16, k=3)) == Like(16, 3)
    jumprelu = JumpReLUSAEConfig(d_in=8, d_sae=16)
    assert Like.of(jumprelu).k == 16
    jumprelu.metadata.l0 = 6.7
    assert Like.of(jumprelu, training_steps=9) == Like(16, 7, 9)


def test_an_unknown_name_and_an_empty_store_are_refused(store):
    with pytest.raises(UserError, match="no comparator 'ica': choose one of raw, pca"):
        build("ica", store, LIKE)
    empty = FakeStore(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    with pytest.raises(UserError, match="no image–caption pairs"):
        build("raw", empty, LIKE)
