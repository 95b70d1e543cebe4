"""Latents taken from a gallery's vectors, on one side or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.causal.gallery import Gallery
from mm_sae_plugin.applications.causal.outcomes import Vectors
from mm_sae_plugin.features.feature_map import Decodable
from mm_sae_plugin.interventions.removal import Removal

SIDES = ("image", "text", "both")
"""Where latents are removed; on text from captions and prompts alike."""


@dataclass(frozen=True)
class Norms:
    """How far vectors are moved, as |Δe| / |e|."""

    image: float
    """Every image."""
    text: float
    """Every caption and prompt."""


class Removing:
    """A gallery with its codes, from which any latents can be removed quickly.

    Parameters
    ----------
    feature_map : Decodable
        Of the joint space; its decoder must be affine.
    gallery : Gallery
        Whose vectors are edited.
    """

    def __init__(self, feature_map: Decodable, gallery: Gallery) -> None:
        self.unedited = Vectors(gallery.images, gallery.captions, gallery.prompts)
        self._images = Removal(feature_map, gallery.images, "image")
        self._captions = Removal(feature_map, gallery.captions, "text")
        # Without known factors there are no prompts, and no row to encode.
        has_prompts = len(gallery.prompts) > 0
        self._prompts = Removal(feature_map, gallery.prompts, "text") if has_prompts else None
        self._image_of = gallery.image_of
        self._n_captions: Float[np.ndarray, "n_images"] = (
            torch.bincount(gallery.image_of, minlength=len(gallery.images)).float().numpy()
        )

    def without(self, mask: Bool[Tensor, "n_features"], norms: Norms | None = None) -> Vectors:
        """Remove latents everywhere; with norms, every vector moves as far as they say."""
        image, text = (None, None) if norms is None else (norms.image, norms.text)
        prompts = self.unedited.prompts
        return Vectors(
            self._images.without(mask, image),
            self._captions.without(mask, text),
            prompts if self._prompts is None else self._prompts.without(mask, text),
        )

    def reconstructed(self) -> Vectors:
        """Return what the feature map makes of the vectors, without what it misses."""
        prompts = self.unedited.prompts
        return Vectors(
            self._images.reconstructed(),
            self._captions.reconstructed(),
            prompts if self._prompts is None else self._prompts.reconstructed(),
        )

    def norms(self, mask: Bool[Tensor, "n_features"]) -> Norms:
        """How far removing latents moves images and captions on average."""
        return Norms(self._images.share_moved(mask), self._captions.share_moved(mask))

    def energy(
        self,
        mask: Bool[Tensor, "n_features"],
        side: str,
        weights: Float[np.ndarray, "n_rows n_images"],
    ) -> Float[np.ndarray, "n_rows"]:
        """Return the mean (|Δe| / |e|)² on a side, under weights of the images.

        On both sides, it is the mean of the two sides' own.
        """
        assert side in SIDES, side
        found = []
        if side != "text":
            of_image = self._images.moved(mask).square().numpy()
            found.append(weights @ of_image / weights.sum(1))
        if side != "image":
            of_caption = self._captions.moved(mask).square()
            sums = torch.zeros(len(self._n_captions)).index_add_(0, self._image_of, of_caption)
            found.append(weights @ sums.numpy() / (weights @ self._n_captions))
        return np.mean(found, axis=0)


def on_side(unedited: Vectors, edited: Vectors, side: str) -> Vectors:
    """Keep an edit on one side only, or on both."""
    assert side in SIDES, side
    images = unedited.images if side == "text" else edited.images
    texts = unedited if side == "image" else edited
    return Vectors(images, texts.captions, texts.prompts)
