"""Counts in words."""

from mm_sae_plugin.wording import n_latents


def test_one_is_singular():
    assert [n_latents(n) for n in (0, 1, 1024)] == ["0 latents", "1 latent", "1,024 latents"]
