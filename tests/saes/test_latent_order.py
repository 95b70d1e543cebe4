"""Entries are sorted by latent, whichever sort is the quick one."""

import pytest
import torch

from mm_sae_plugin.saes.latent_order import latent_order


@pytest.mark.parametrize("n_latents", [1, 3, 2**16, 2**16 + 1])
@pytest.mark.parametrize("n", [0, 500])
def test_equal_latents_stay_in_order(n_latents, n):
    generator = torch.Generator().manual_seed(0)
    # The largest numbers too, which must not wrap.
    latents = torch.randint(max(0, n_latents - 50), n_latents, (n,), generator=generator)
    assert torch.equal(latent_order(latents, n_latents), latents.argsort(stable=True))
