"""The prior: it reads the joint text embedding, and nothing that would bypass an edit of it."""

import torch

from mm_sae_plugin.factorworld.generator import JointPrior, build_prior


@torch.no_grad()
def test_token_states_are_not_read(tmp_path):
    torch.manual_seed(0)
    prior = build_prior(num_layers=1).eval()
    latents, joint = torch.randn(2, 128), torch.randn(2, 128)
    plain = prior(latents, 500, joint).predicted_image_embedding
    states, mask = torch.randn(2, 30, 128), torch.ones(2, 30, dtype=torch.bool)
    told = prior(latents, torch.tensor(500), joint, states, mask).predicted_image_embedding
    assert torch.equal(plain, told)
    other = prior(latents, 500, joint.flip(0)).predicted_image_embedding
    assert (other - plain).abs().max() > 1e-3
    longer = prior(latents, 500, 20 * joint).predicted_image_embedding
    torch.testing.assert_close(longer, plain, rtol=0, atol=1e-3)
    prior.save_pretrained(tmp_path)
    again = JointPrior.from_pretrained(tmp_path)
    assert torch.equal(again(latents, 500, joint).predicted_image_embedding, plain)
