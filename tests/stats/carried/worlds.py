"""Pairs whose concepts have known rates on either side, for dictionaries split by modality."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mm_sae_plugin.modality import Modality
from tests.stats.fakes import FakeStore

Rates = tuple[float, float]
"""How often the image shows a concept, and how often the caption does."""


@dataclass(frozen=True)
class SplitMap:
    """One latent for each concept, which fires on its own side only: a dictionary split in two."""

    directions: dict[Modality, Tensor]
    own: Modality

    @property
    def n_features(self) -> int:
        return len(self.directions[self.own])

    def encode(self, acts: Tensor, modality: Modality) -> Tensor:
        codes = torch.relu(acts @ self.directions[modality].T - 0.5)
        return codes if modality == self.own else codes * 0


@dataclass(frozen=True)
class World:
    """A store, and the directions of each factor's first value."""

    store: FakeStore
    directions: dict[Modality, Tensor]

    def latents(self, own: Modality) -> SplitMap:
        return SplitMap(self.directions, own)


def world(
    rates: list[Rates],
    n_pairs: int = 12_000,
    n_values: int = 6,
    captions: int = 1,
    noise: float = 0.02,
    extra: int = 0,
    seed: int = 0,
) -> World:
    """Every factor has one of `n_values` values in each pair, shown on either side at its rates.

    Activations are sums of the orthogonal directions of what is shown, with noise, and those of
    captions have `extra` dimensions more.
    """
    rng = np.random.default_rng(seed)
    n_images = n_pairs // captions
    image_of = np.repeat(np.arange(n_images), captions)
    d = len(rates) * n_values
    bases: dict[Modality, np.ndarray] = {
        "image": np.linalg.qr(rng.normal(size=(d, d)))[0],
        "text": np.linalg.qr(rng.normal(size=(d + extra, d + extra)))[0][:d],
    }
    images = noise * rng.normal(size=(n_images, d))
    texts = noise * rng.normal(size=(len(image_of), d + extra))
    for number, (drawn, said) in enumerate(rates):
        value = rng.integers(0, n_values, n_images)
        row = number * n_values + value
        images += bases["image"][row] * (rng.random(n_images) < drawn)[:, None]
        told = rng.random(len(image_of)) < said
        texts += bases["text"][row[image_of]] * told[:, None]
    first = np.arange(len(rates)) * n_values
    return World(
        FakeStore(_tensor(images), _tensor(texts), torch.from_numpy(image_of)),
        {modality: _tensor(basis[first]) for modality, basis in bases.items()},
    )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).to(torch.float32)
