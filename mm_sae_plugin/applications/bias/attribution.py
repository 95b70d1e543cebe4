"""Which latents a gap comes from: what is left of it when they are taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.bias.contrast import Contrast, Gaps, pooled
from mm_sae_plugin.features.feature_map import Decodable
from mm_sae_plugin.interventions.removal import Removal
from mm_sae_plugin.stats.matched_sets import MatchedSets

SIDES = ("image", "text", "both")
"""Where latents are removed."""
Summary = Callable[[Gaps], float]
"""What of the gaps is attributed, such as the signed gap of a stated direction."""


@dataclass(frozen=True)
class Removed:
    """What is left of a gap without some latents."""

    name: str
    """Such as `ImgD`, `ImgD (paper)`, `reconstruction only`."""
    side: str
    """`image`, `text` or `both`: where they were removed."""
    n_latents: int
    """How many."""
    value: float
    """The summary of the gaps without them."""
    random: tuple[float, ...]
    """The same without each random set."""
    is_matched: bool
    """Whether the random sets fire as often and as strongly; else every removal, this one too,
    moved each vector by the same |Δe|."""
    moved: float
    """Mean |Δe| / |e| on the sides where they were removed."""


class Attribution:
    """A gap, and what removing latents leaves of it.

    Parameters
    ----------
    feature_map : Decodable
        Of the joint space.
    contrast : Contrast
        Which images are compared.
    images : float
        Joint vectors of the images, as the feature map takes them.
    prompts : float
        Those of the prompts, target after target.
    sizes : sequence of int
        How many prompts each target has.
    summary : callable
        What of the gaps is attributed.
    """

    def __init__(
        self,
        feature_map: Decodable,
        contrast: Contrast,
        images: Float[Tensor, "n_images d"],
        prompts: Float[Tensor, "n_prompts d"],
        sizes: Sequence[int],
        summary: Summary,
    ) -> None:
        self.n_features = feature_map.n_features
        self._contrast, self._sizes, self._summary = contrast, list(sizes), summary
        self._images = Removal(feature_map, images, "image")
        self._prompts = Removal(feature_map, prompts, "text")
        nothing = torch.zeros(self.n_features, dtype=torch.bool)
        self._whole = (self._images.without(nothing), self._prompts.without(nothing))
        self.whole: float = self._value(*self._whole)
        """The summary of the gaps as they are."""

    def gaps_without(self, mask: Bool[Tensor, "n_features"], side: str = "both") -> Gaps:
        """Return each target's gap without some latents."""
        images, prompts = self._rows(mask, side, None)
        return self._contrast.gaps(images, pooled(prompts, self._sizes))

    def without(
        self,
        mask: Bool[Tensor, "n_features"],
        side: str = "both",
        relative_norm: float | None = None,
    ) -> float:
        """Return the summary of the gaps without some latents; see :meth:`Removal.without`."""
        return self._value(*self._rows(mask, side, relative_norm))

    def reconstruction_only(self) -> float:
        """Return the summary of the gaps when nothing is removed but what the SAE misses."""
        return self._value(self._images.reconstructed(), self._prompts.reconstructed())

    def by_latent(self, side: str = "both") -> Float[Tensor, "n_features"]:
        """Return what each latent alone takes of the summary with it: whole less what is left."""
        fires = (self._images.codes > 0).any(0) | (self._prompts.codes > 0).any(0)
        taken = torch.zeros(self.n_features)
        for latent in fires.nonzero()[:, 0].tolist():
            mask = torch.zeros(self.n_features, dtype=torch.bool)
            mask[latent] = True
            taken[latent] = self.whole - self.without(mask, side)
        return taken

    def removed(
        self, name: str, mask: Bool[Tensor, "n_features"], side: str, random: MatchedSets
    ) -> Removed:
        """Remove a set of latents, and each of the random sets that stand beside it."""
        moved = self._share_moved(mask, side)
        # What cannot be matched is compared at equal |Δe|.
        norm = None if random.is_matched else moved
        return Removed(
            name,
            side,
            int(mask.sum()),
            self.without(mask, side, norm),
            tuple(self.without(other, side, norm) for other in random.masks),
            random.is_matched,
            moved,
        )

    def _rows(
        self, mask: Bool[Tensor, "n_features"], side: str, norm: float | None
    ) -> tuple[Tensor, Tensor]:
        assert side in SIDES, side
        images, prompts = self._whole
        if side != "text":
            images = self._images.without(mask, norm)
        if side != "image":
            prompts = self._prompts.without(mask, norm)
        return images, prompts

    def _share_moved(self, mask: Bool[Tensor, "n_features"], side: str) -> float:
        rows = {"image": [self._images], "text": [self._prompts]}
        chosen = rows.get(side, [self._images, self._prompts])
        return sum(one.share_moved(mask) for one in chosen) / len(chosen)

    def _value(self, images: Tensor, prompts: Tensor) -> float:
        return self._summary(self._contrast.gaps(images, pooled(prompts, self._sizes)))
