"""Counts in words."""


def n_latents(n: int) -> str:
    """Return how many latents there are: ``"1 latent"``, ``"1,024 latents"``."""
    return "1 latent" if n == 1 else f"{n:,} latents"
