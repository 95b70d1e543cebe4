"""A gallery and a dictionary whose truth is known: every axis is a latent."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.causal.gallery import Gallery, Question
from mm_sae_plugin.factorworld.factors import Factor
from mm_sae_plugin.modality import Modality


class AxisMap:
    """Codes that are the positive coordinates, and a decoder that puts them back."""

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features

    @property
    def directions(self) -> Tensor:
        return 3 * torch.eye(self.n_features)

    def encode(self, acts: Tensor, modality: Modality) -> Tensor:
        return acts.clamp_min(0)

    def decode(self, codes: Tensor, modality: Modality) -> Tensor:
        return codes


COLOUR = Factor("colour", ("red", "green", "blue"), 1, 1)
TILT = Factor("tilt", ("level", "rising"), 1, 0)
N_IMAGES, D = 60, 40


def gallery(n_captions: int = 1) -> Gallery:
    """Axes 0 to 2 are the colour; 3 to 32 tell an image from others; 33 is all images' own.

    Axes 34 and 35 are the tilt, which only images have; 36 is all captions' own; 37 to 39 are free.
    Images i and i + 30 have the same own axis and another colour: either alone finds no one.
    """
    index = torch.arange(N_IMAGES)
    colour, own, tilt = (index + index // 30) % 3, 3 + index % 30, 34 + index % 2
    images, captions = torch.zeros(N_IMAGES, D), torch.zeros(N_IMAGES, D)
    for rows in (images, captions):
        rows[index, colour], rows[index, own] = 1.0, 0.8
    images[index, 33], images[index, tilt] = 0.5, 0.3
    captions[:, 36] = 0.5
    image_of = index.repeat_interleave(n_captions)
    prompts = torch.zeros(6, D)
    # Two prompts a value, which differ in what else they say.
    prompts[torch.arange(6), torch.arange(3).repeat_interleave(2)] = 1.0
    prompts[:, 3:5] = torch.tensor([[0.2, 0.0], [0.0, 0.2]]).repeat(3, 1)
    return Gallery(
        "a planted world",
        True,
        normalize(images, dim=1),
        normalize(captions, dim=1)[image_of],
        image_of,
        normalize(prompts, dim=1),
        (
            Question(COLOUR, colour, colour[image_of], slice(0, 6)),
            Question(TILT, tilt - 34, torch.full_like(image_of, -1), slice(6, 6)),
        ),
    )


def mask(*latents: int) -> Tensor:
    """Mark some latents."""
    marked = torch.zeros(D, dtype=torch.bool)
    marked[list(latents)] = True
    return marked
