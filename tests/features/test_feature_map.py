import pytest
import torch
from sae_lens import AbsTopKSAE, AbsTopKSAEConfig, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import FeatureMap, RawDimensions, SAEFeatureMap
from mm_sae_plugin.saes import ModalityNormalization
from tests.saes.tiny import tiny_sae


def test_every_map_answers_the_interface():
    for feature_map in (SAEFeatureMap(tiny_sae()), RawDimensions(8)):
        assert isinstance(feature_map, FeatureMap)
        codes = feature_map.encode(torch.randn(5, 8))
        assert codes.shape == (5, feature_map.n_features)
        assert bool((codes >= 0).all())


def test_an_sae_encodes_and_decodes_as_it_does_itself():
    sae, acts = tiny_sae(), torch.randn(5, 8)
    feature_map = SAEFeatureMap(sae)
    assert torch.equal(feature_map.encode(acts), sae.encode(acts))
    assert torch.equal(feature_map.decode(feature_map.encode(acts)), sae(acts))


def test_raw_dimensions_keep_everything():
    acts = torch.randn(6, 8)
    raw = RawDimensions(8)
    assert torch.equal(raw.decode(raw.encode(acts)), acts)
    assert int((raw.encode(acts) > 0).sum()) == acts.numel()


def test_sparse_codes_of_a_training_sae_become_dense():
    cfg = BatchTopKTrainingSAEConfig(d_in=8, d_sae=16, k=3, use_sparse_activations=True)
    codes = SAEFeatureMap(BatchTopKTrainingSAE(cfg)).encode(torch.randn(5, 8))
    assert not codes.is_sparse


def test_signed_codes_are_refused():
    with pytest.raises(UserError, match="'abstopk' SAE are signed"):
        SAEFeatureMap(AbsTopKSAE(AbsTopKSAEConfig(d_in=8, d_sae=16, k=3)))


def test_normalised_maps_ask_for_the_modality():
    sae, acts = tiny_sae(), 3 * torch.randn(50, 8) + 1
    normalization = ModalityNormalization.measure("per_modality_center_scale", acts, acts + 5)
    feature_map = SAEFeatureMap(sae, normalization)
    with pytest.raises(UserError, match='say modality="image" or "text"'):
        feature_map.encode(acts)
    codes = feature_map.encode(acts, "image")
    # The text side differs by a constant only, which centring removes.
    torch.testing.assert_close(feature_map.encode(acts + 5, "text"), codes, atol=1e-4, rtol=1e-4)
    recons = feature_map.decode(codes, "text")
    torch.testing.assert_close(recons, feature_map.decode(codes, "image") + 5, atol=1e-4, rtol=1e-4)


def test_gradients_flow_to_the_activations():
    acts = torch.randn(4, 8, requires_grad=True)
    SAEFeatureMap(tiny_sae()).encode(acts).sum().backward()
    assert acts.grad is not None and bool(acts.grad.abs().sum() > 0)
