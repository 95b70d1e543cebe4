"""Small stand-ins that answer the interfaces of a store and of a feature map."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from mm_sae_plugin.modality import Modality


@dataclass
class FakeStore:
    """Paired activations in memory."""

    images: Tensor
    texts: Tensor
    image_index: Tensor
    labels: dict[str, list[str]] = field(default_factory=dict)
    captions: list[str] = field(default_factory=list)
    image_ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.captions = self.captions or [f"caption {i}" for i in range(len(self.texts))]
        self.image_ids = self.image_ids or [f"image-{i}" for i in range(len(self.images))]

    def image_rows(self) -> Tensor:
        return self.images

    def text_rows(self) -> Tensor:
        return self.texts

    def iter_pairs(self, chunk: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for start in range(0, len(self.texts), chunk):
            rows = self.image_index[start : start + chunk]
            yield self.images[rows], self.texts[start : start + chunk], rows

    def open_image(self, row: int) -> Image.Image | None:
        return Image.new("RGB", (64, 64), (row * 37 % 256, row * 91 % 256, 128))


class FakeFeatureMap:
    """ReLU of a random linear map, with a bias that keeps the codes sparse."""

    def __init__(self, d_in: int, n_features: int, seed: int = 0, bias: float = -1.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.w_dec = torch.randn(n_features, d_in, generator=generator)
        self.b_dec = torch.randn(d_in, generator=generator)
        self.bias = bias
        self.n_features = n_features

    @property
    def directions(self) -> Tensor:
        return self.w_dec

    def encode(self, x: Tensor, modality: Modality) -> Tensor:
        return torch.relu(x @ self.w_dec.T / x.shape[1] ** 0.5 + self.bias)

    def decode(self, codes: Tensor, modality: Modality) -> Tensor:
        return codes @ self.w_dec + self.b_dec


class IdentityMap:
    """Codes that are the activations themselves."""

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features

    def encode(self, x: Tensor, modality: Modality) -> Tensor:
        return torch.relu(x)


def random_store(n_images: int = 60, d_in: int = 12, max_captions: int = 4, seed: int = 0):
    """Images with one to `max_captions` captions each."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, max_captions + 1, (n_images,), generator=generator)
    image_index = torch.arange(n_images).repeat_interleave(lengths)
    images = torch.randn(n_images, d_in, generator=generator)
    texts = images[image_index] + torch.randn(len(image_index), d_in, generator=generator)
    return FakeStore(images, texts, image_index)
