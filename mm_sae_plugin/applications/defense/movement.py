"""Which latents an attack moves, and how far a defense pulls them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.features.feature_map import FeatureMap

CLASSES = ("TextD", "CrossD", "ImgD", "Undetermined", "Dead")
"""In the order in which they are told."""


@dataclass(frozen=True)
class Movement:
    """The codes of a picture's vector, behind a defense, before and after an attack."""

    before: Float[Tensor, "n_features"]
    """As it is."""
    after: Float[Tensor, "n_features"]
    """Attacked."""

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        victim: Victim,
        feature_map: FeatureMap,
        clean: Float[Tensor, "1 3 h w"],
        moved: Float[Tensor, "1 3 h w"],
    ) -> Movement:
        """Encode both pictures, through the defense."""
        codes = feature_map.encode(victim.vectors(torch.cat([clean, moved])), "image").cpu()
        return cls(codes[0], codes[1])

    @property
    def change(self) -> Float[Tensor, "n_features"]:
        """By how much each latent rose or fell."""
        return self.after - self.before

    def strongest(self, n: int) -> list[int]:
        """Return the latents that moved most, the first one farthest; none that stood still."""
        sizes = self.change.abs()
        ranked = sizes.argsort(descending=True, stable=True)[:n].tolist()
        return [latent for latent in ranked if sizes[latent] > 0]

    def by_class(self, classes: Sequence[str]) -> dict[str, float]:
        """Return how far the latents of each class moved, all of them together.

        Parameters
        ----------
        classes : sequence of str
            Of each latent; classes that no latent has are left out.
        """
        sizes, found = self.change.abs(), {}
        for name in CLASSES:
            mask = torch.tensor([each == name for each in classes])
            if mask.any():
                found[name] = float(sizes[mask].sum())
        return found
