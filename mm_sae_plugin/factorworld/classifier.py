"""A classifier that reads every factor off a picture, trained apart from all other models here.

It judges what a generator drew, so it shares nothing with the generator or with the CLIPs: no
weights, no embedding, and no words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.drawing.render import IMAGE_SIZE
from mm_sae_plugin.factorworld.embedded import WEIGHTS_FOLDER
from mm_sae_plugin.factorworld.factors import FACTORS
from mm_sae_plugin.files import sha256_of_file

_NAME = "classifier"
_BATCH = 128


# Of how rough a picture is from place to place; grain is the same everywhere, outlines are not.
_QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
_PLACE = 4
# Second differences both ways: flat colours, slopes and straight edges give 0.
_ROUGH = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))


class _Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.first_norm = nn.GroupNorm(8, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_norm = nn.GroupNorm(8, channels)

    def forward(
        self, x: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch channels rows columns"]:
        h = F.silu(self.first_norm(self.first(x)))
        return F.silu(x + self.second_norm(self.second(h)))


class FactorClassifier(nn.Module):
    """A small convolutional network with one answer for every factor of ``FACTORS``.

    A factor that a picture cannot show (the occupation of a star, a mark that is left out) gets an
    answer too: ask only where the factor is known to be drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            _Block(64),
            _Block(64),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            nn.SiLU(),
            _Block(128),
            nn.Conv2d(128, 128, 3, stride=2, padding=1),
            nn.SiLU(),
            _Block(128),
            nn.Flatten(),
            nn.Linear(128 * (IMAGE_SIZE // 16) ** 2, 192),
        )
        self.sizes = [len(factor.values) for factor in FACTORS.values()]
        self.heads = nn.Linear(192 + len(_QUANTILES), sum(self.sizes))

    def features(self, pixels: Float[Tensor, "batch 3 64 64"]) -> Float[Tensor, "batch 192"]:
        """Return what the network makes of pictures (in -1 to 1) before it names anything."""
        return F.silu(self.trunk(pixels))

    def forward(self, pixels: Float[Tensor, "batch 3 64 64"]) -> Float[Tensor, "batch n_values"]:
        """Return the logits of all values of all factors, side by side."""
        return self.heads(torch.cat([self.features(pixels), roughness(pixels)], dim=1))

    @torch.inference_mode()
    def answers(self, pictures: UInt8[np.ndarray, "n 64 64 3"]) -> Int[np.ndarray, "n n_factors"]:
        """Return the number of the likeliest value of every factor, for every picture."""
        rows = [
            torch.stack([p.argmax(1) for p in self(part).split(self.sizes, dim=1)], dim=1)
            for part in as_pixels(pictures).split(_BATCH)
        ]
        return torch.cat(rows).numpy()

    def read(self, pictures: Sequence[Image.Image]) -> list[dict[str, str]]:
        """Return the likeliest value of every factor, for every picture."""
        rows = np.stack([np.asarray(p.convert("RGB")) for p in pictures])
        return [
            {f.name: f.values[value] for f, value in zip(FACTORS.values(), row, strict=True)}
            for row in self.answers(rows)
        ]


def roughness(pixels: Float[Tensor, "batch 3 64 64"]) -> Float[Tensor, "batch n_quantiles"]:
    """Return quantiles of how rough a picture is from place to place, on a scale of logarithms.

    Strided convolutions average grain away before anything can read it.
    """
    grey = pixels.float().mean(1, keepdim=True)
    kernel = torch.tensor(_ROUGH, device=grey.device)[None, None] / 4
    rough = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="reflect"), kernel).abs()
    places = F.avg_pool2d(rough, _PLACE).flatten(1)
    quantiles = places.quantile(torch.tensor(_QUANTILES, device=places.device), dim=1).T
    return (quantiles + 1e-3).log()


def as_pixels(pictures: UInt8[np.ndarray, "n 64 64 3"]) -> Float[Tensor, "n 3 64 64"]:
    """Return pictures as pixels in -1 to 1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def classifier_card() -> dict[str, Any]:
    """Return the classifier's card: checksum, recipe, and its accuracy on held-out pictures."""
    return json.loads((WEIGHTS_FOLDER / f"{_NAME}.json").read_text(encoding="utf-8"))


def classifier_path() -> Path:
    """Return where the classifier's weights lie."""
    return WEIGHTS_FOLDER / f"{_NAME}.safetensors"


def load_classifier() -> FactorClassifier:
    """Load the classifier of the package.

    Raises
    ------
    UserError
        If its file is missing, or does not have the checksum of its card.
    """
    from safetensors.torch import load_file

    path = classifier_path()
    if not path.is_file() or sha256_of_file(path) != classifier_card()["sha256"]:
        raise UserError(
            f"The weights file {path} is missing or damaged: its checksum is not the one in its "
            "card; reinstall mm_sae_plugin."
        )
    model = FactorClassifier()
    model.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return model.eval()
