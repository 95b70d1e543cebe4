"""Decoding only what is active gives what SAELens' own decoders give."""

import pytest
import torch
from sae_lens import TopKSAE, TopKSAEConfig
from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY, get_sae_class
from torch import Tensor

from mm_sae_plugin.features import SAEFeatureMap, sparse_decode
from mm_sae_plugin.features.sparse_decode import decoded, takes_sparse_codes
from mm_sae_plugin.saes.architectures import training_sae_config

D_IN, D_SAE = 12, 96
SIGNED = {"abstopk", "temporal"}


def sparse_codes(n_rows: int = 20, n_active: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    chance = torch.rand(n_rows, D_SAE, generator=generator)
    return torch.where(chance >= chance.topk(n_active).values[:, -1:], chance + 0.1, 0.0)


def with_random_weights(sae):
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return sae


def inference_sae(architecture: str, **options):
    sae_class, config_class = get_sae_class(architecture)
    if "transcoder" in architecture:
        options |= {"d_out": 7, "apply_b_dec_to_input": False}
    return with_random_weights(sae_class(config_class(d_in=D_IN, d_sae=D_SAE, **options)))


@pytest.fixture
def seen(monkeypatch) -> list[bool]:
    """Whether each product of codes that a decoder takes is one of sparse codes."""
    kinds = []
    original = TopKSAE.decode

    def decode(self, feature_acts):
        kinds.append(feature_acts.is_sparse)
        return original(self, feature_acts)

    # What stands in for it is still taken for SAELens' own.
    decode.__module__ = original.__module__
    monkeypatch.setattr(TopKSAE, "decode", decode)
    return kinds


@pytest.mark.parametrize("architecture", sorted(set(SAE_CLASS_REGISTRY) - SIGNED))
def test_every_saved_architecture_decodes_alike(architecture):
    sae, codes = inference_sae(architecture), sparse_codes()
    assert takes_sparse_codes(sae, codes)
    torch.testing.assert_close(decoded(sae, codes), sae.decode(codes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", sorted(set(SAE_TRAINING_CLASS_REGISTRY) - SIGNED))
def test_every_training_architecture_decodes_alike(architecture):
    sae_class, _ = SAE_TRAINING_CLASS_REGISTRY[architecture]
    sae = with_random_weights(sae_class(training_sae_config(architecture, D_IN, D_SAE, 4)))
    codes = sparse_codes()
    assert takes_sparse_codes(sae, codes)
    torch.testing.assert_close(decoded(sae, codes), sae.decode(codes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"rescale_acts_by_decoder_norm": True},
        {"normalize_activations": "constant_norm_rescale"},
        {"normalize_activations": "layer_norm"},
        {"apply_b_dec_to_input": False},
    ],
)
def test_whatever_else_a_decoder_does_is_done(seen, options):
    sae = inference_sae("topk", k=4, **options)
    acts = torch.randn(20, D_IN, generator=torch.Generator().manual_seed(5))
    given, codes, returned = SAEFeatureMap(sae).reconstruct(acts, "image")
    assert seen == [True]
    torch.testing.assert_close(returned, sae(given), rtol=1e-5, atol=1e-5)
    assert torch.equal(codes, sae.encode(acts))


def test_hooks_of_the_codes_and_of_the_reconstruction_are_called(seen):
    sae = inference_sae("topk", k=4)
    sae.hook_sae_acts_post.add_hook(lambda tensor, hook: tensor * 2)
    sae.hook_sae_recons.add_hook(lambda tensor, hook: tensor + 1)
    acts = torch.randn(20, D_IN)
    _, _, returned = SAEFeatureMap(sae).reconstruct(acts, "text")
    assert seen == [True]
    torch.testing.assert_close(returned, sae(acts), rtol=1e-5, atol=1e-5)
    sae.reset_hooks()
    assert not torch.allclose(returned, sae(acts), atol=0.5)


def test_codes_of_which_many_are_active_are_decoded_as_they_are(seen):
    sae = inference_sae("topk", k=4)
    codes = sparse_codes(n_active=D_SAE // 2)
    assert torch.equal(decoded(sae, codes), sae.decode(codes))
    assert seen == [False, False]


def test_a_decoder_that_is_not_sae_lens_own_gets_dense_codes():
    class Doubling(TopKSAE):
        def decode(self, feature_acts):
            assert not feature_acts.is_sparse
            return 2 * super().decode(feature_acts)

    mine = with_random_weights(Doubling(TopKSAEConfig(d_in=D_IN, d_sae=D_SAE, k=4)))
    patched = inference_sae("topk", k=4)
    original = patched.decode
    patched.decode = lambda feature_acts: original(feature_acts) - 1
    for sae in (mine, patched):
        codes = sparse_codes()
        assert not takes_sparse_codes(sae, codes)
        assert torch.equal(decoded(sae, codes), sae.decode(codes))


def test_half_precision_is_decoded_as_it_is():
    sae = inference_sae("topk", k=4, dtype="bfloat16")
    codes = sparse_codes().bfloat16()
    assert not takes_sparse_codes(sae, codes)
    assert torch.equal(decoded(sae, codes), sae.decode(codes))


def test_rows_without_any_code_decode_to_the_bias():
    sae, codes = inference_sae("topk", k=4), torch.zeros(3, D_SAE)
    assert torch.equal(sparse_decode.decoded(sae, codes), sae.b_dec.detach().expand(3, -1))
