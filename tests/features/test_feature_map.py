import pytest
import torch
from sae_lens import AbsTopKSAE, AbsTopKSAEConfig, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import Decodable, FeatureMap, RawDimensions, SAEFeatureMap
from mm_sae_plugin.features.centred import centred
from mm_sae_plugin.saes import ModalityNormalization, fold_normalization
from tests.saes.tiny import tiny_sae


def test_every_map_answers_the_interface():
    for feature_map in (SAEFeatureMap(tiny_sae()), RawDimensions(8)):
        assert isinstance(feature_map, FeatureMap)
        codes = feature_map.encode(torch.randn(5, 8), "image")
        assert codes.shape == (5, feature_map.n_features)
        assert bool((codes >= 0).all())


def test_an_sae_encodes_and_decodes_as_it_does_itself():
    sae, acts = tiny_sae(), torch.randn(5, 8)
    feature_map = SAEFeatureMap(sae)
    assert torch.equal(feature_map.encode(acts, "text"), sae.encode(acts))
    assert torch.equal(feature_map.decode(feature_map.encode(acts, "image"), "image"), sae(acts))


def test_raw_dimensions_keep_everything():
    acts = torch.randn(6, 8)
    raw = RawDimensions(8)
    assert torch.equal(raw.decode(raw.encode(acts, "text"), "text"), acts)
    assert int((raw.encode(acts, "image") > 0).sum()) == acts.numel()


def test_sparse_codes_of_a_training_sae_become_dense():
    cfg = BatchTopKTrainingSAEConfig(d_in=8, d_sae=16, k=3, use_sparse_activations=True)
    codes = SAEFeatureMap(BatchTopKTrainingSAE(cfg)).encode(torch.randn(5, 8), "image")
    assert not codes.is_sparse


def test_signed_codes_are_refused():
    with pytest.raises(UserError, match="'abstopk' SAE are signed"):
        SAEFeatureMap(AbsTopKSAE(AbsTopKSAEConfig(d_in=8, d_sae=16, k=3)))


def test_normalised_maps_take_raw_activations_of_either_modality():
    sae, acts = tiny_sae(), 3 * torch.randn(50, 8) + 1
    normalization = ModalityNormalization.measure("per_modality_center_scale", acts, acts + 5)
    feature_map = SAEFeatureMap(sae, normalization)
    codes = feature_map.encode(acts, "image")
    # The text side differs by a constant only, which centring removes.
    torch.testing.assert_close(feature_map.encode(acts + 5, "text"), codes, atol=1e-4, rtol=1e-4)
    recons = feature_map.decode(codes, "text")
    torch.testing.assert_close(recons, feature_map.decode(codes, "image") + 5, atol=1e-4, rtol=1e-4)


def test_gradients_flow_to_the_activations():
    acts = torch.randn(4, 8, requires_grad=True)
    SAEFeatureMap(tiny_sae()).encode(acts, "image").sum().backward()
    assert acts.grad is not None and bool(acts.grad.abs().sum() > 0)


def test_directions_are_what_each_feature_adds_to_a_reconstruction():
    for feature_map in (SAEFeatureMap(tiny_sae()), RawDimensions(8)):
        assert isinstance(feature_map, Decodable)
        units = torch.eye(feature_map.n_features)
        nothing = feature_map.decode(torch.zeros(1, feature_map.n_features), "image")
        added = feature_map.decode(units, "image") - nothing
        cosine = torch.cosine_similarity(added, feature_map.directions)
        torch.testing.assert_close(cosine, torch.ones(feature_map.n_features))


def test_an_sae_trained_behind_normalisation_is_not_used_without_it():
    sae = tiny_sae(normalization="per_modality_scale")
    with pytest.raises(UserError, match="trained behind 'per_modality_scale' normalisation"):
        SAEFeatureMap(sae)


def test_a_folded_sae_refuses_the_other_modality():
    acts = 3 * torch.randn(50, 8) + 1
    normalization = ModalityNormalization.measure("per_modality_center_scale", acts, acts + 5)
    sae = tiny_sae(normalization="per_modality_center_scale")
    folded = SAEFeatureMap(fold_normalization(sae, normalization, "image"))
    expected = SAEFeatureMap(sae, normalization).encode(acts, "image")
    torch.testing.assert_close(folded.encode(acts, "image"), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="so it cannot be used on text ones"):
        folded.encode(acts, "text")
    with pytest.raises(UserError, match="folded for image"):
        folded.decode(expected, "text")


def test_centring_moves_both_modalities_to_one_mean_whatever_the_normalisation():
    images, texts = torch.randn(400, 8) + 2, 4 * torch.randn(400, 8) - 1
    means = torch.stack([images.double().mean(0), texts.double().mean(0)])
    for method in ("none", "per_modality_scale", "per_modality_center_scale"):
        normalization = ModalityNormalization.measure(method, images, texts)
        sae = tiny_sae(normalization=method)
        plain = SAEFeatureMap(sae, normalization)
        moved = centred(plain, means)
        assert isinstance(moved, SAEFeatureMap)
        seen_image = moved.normalization.apply(images, "image").mean(0)
        seen_text = moved.normalization.apply(texts, "text").mean(0)
        torch.testing.assert_close(seen_image, seen_text, atol=1e-4, rtol=1e-4)
        # What was centred already is left alone.
        if "center" in method:
            torch.testing.assert_close(moved.encode(images, "image"), plain.encode(images, "image"))


@pytest.mark.parametrize("make", [RawDimensions, lambda d: SAEFeatureMap(tiny_sae())])
def test_activations_of_another_width_are_refused(make):
    with pytest.raises(UserError, match="takes activations of width 8, but these are 6 wide"):
        make(8).encode(torch.randn(5, 6), "image")


def test_what_is_no_sae_and_no_width_is_refused(any_types):
    with pytest.raises(UserError, match=r"takes an SAE, not a str: .*load_sae\(folder\)"):
        SAEFeatureMap("st/ref")  # pyright: ignore[reportArgumentType]
    for wrong, given in ((0, "0"), ("64", "a str")):
        with pytest.raises(UserError, match=f"width of the activations, at least 1, not {given}"):
            RawDimensions(wrong)  # pyright: ignore[reportArgumentType]
