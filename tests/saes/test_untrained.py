import pytest
import torch

from mm_sae_plugin.saes import untrained_sae
from tests.saes.tiny import tiny_sae


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_same_shape_other_directions(architecture):
    sae = tiny_sae(architecture)
    state = torch.get_rng_state()
    null = untrained_sae(sae, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(null) is type(sae)
    assert (null.cfg.d_in, null.cfg.d_sae) == (sae.cfg.d_in, sae.cfg.d_sae)
    torch.testing.assert_close(null.W_dec.norm(dim=1), sae.W_dec.norm(dim=1))
    torch.testing.assert_close(null.W_enc.norm(dim=0), sae.W_enc.norm(dim=0))
    cosine = torch.cosine_similarity(null.W_dec, sae.W_dec, dim=1)
    assert cosine.abs().max() < 0.999
    assert torch.equal(untrained_sae(sae, seed=1).W_dec, null.W_dec)
    assert not torch.equal(untrained_sae(sae, seed=2).W_dec, null.W_dec)


def test_topk_keeps_its_l0():
    null = untrained_sae(tiny_sae(), seed=1)
    assert int((null.encode(torch.randn(100, 8)) > 0).sum(dim=1).max()) <= 3


def test_thresholds_are_set_to_the_l0_of_the_trained_sae():
    sae, acts = tiny_sae("jumprelu"), torch.randn(2000, 8)
    l0 = [(x.encode(acts) > 0).double().sum(1).mean() for x in (sae, untrained_sae(sae, 1, acts))]
    assert float(l0[1]) == pytest.approx(float(l0[0]), rel=0.01)
