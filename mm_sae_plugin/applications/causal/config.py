"""What a causal check depends on. Standard library only, so that the command line is quick."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from mm_sae_plugin.errors import UserError, check_numbers

LEAST_RANDOM = 20
"""Random sets beside each set of latents that a comparison needs at least."""
LEAST_RESAMPLES = 500
"""Resamples of images that an interval needs at least."""
_LEAST_IMAGES = 20
_MOST_IMAGES = 10_000


@dataclass(frozen=True)
class CausalConfig:
    """How much is measured."""

    n_images: int = 500
    """Images of the gallery, 20 to 10,000; all their captions come with them."""
    n_prompts: int = 16
    """Captions that each value of a factor is told by, at least 1; only where factors are known."""
    n_random: int = 20
    """Random sets of latents beside each set, at least 20."""
    n_resamples: int = 500
    """Resamples of the images for every interval, at least 500."""
    steer_share: float = 0.25
    """|Δe| / |e| of the latent that is added to see how it steers; above 0."""
    n_top: int = 10
    """Captions on which a latent fires most that stand for it where no factors are known, and as
    many random ones for each; at least 1."""
    confidence: float = 0.95
    """Of every interval, between 0 and 1."""
    seed: int = 0
    """Of random sets, resamples, and what is drawn of a store."""

    def full(self) -> CausalConfig:
        """Return a larger one: more images, prompts, random sets and resamples."""
        return replace(self, n_images=1_000, n_prompts=64, n_random=50, n_resamples=1_000)

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        check_numbers(self)
        if not _LEAST_IMAGES <= self.n_images <= _MOST_IMAGES:
            raise UserError(
                f"n_images must be {_LEAST_IMAGES} to {_MOST_IMAGES:,}, not {self.n_images:,}."
            )
        for name, least in (
            ("n_prompts", 1),
            ("n_random", LEAST_RANDOM),
            ("n_resamples", LEAST_RESAMPLES),
            ("n_top", 1),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        if not (isfinite(self.steer_share) and self.steer_share > 0):
            raise UserError(f"steer_share must be finite and above 0, not {self.steer_share}.")
        if not 0 < self.confidence < 1:
            raise UserError(f"confidence must lie between 0 and 1, not {self.confidence}.")
