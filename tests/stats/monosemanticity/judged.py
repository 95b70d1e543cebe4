"""Stores whose rows are embedded by nobody in particular."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.models.independent_encoder import IndependentEncoder
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedRows


def random_rows(n: int, d: int = 6, n_folds: int = 5, seed: int = 0) -> EmbeddedRows:
    """Unit rows that are alike on average, in folds of equal size; one in nine does not count."""
    generator = torch.Generator().manual_seed(seed)
    unit = normalize(torch.randn(n, d, generator=generator) + 0.5, dim=1)
    used = torch.arange(n) % 9 != 4
    return EmbeddedRows(unit, used, torch.arange(n) % n_folds, "random", "none")


def sparse_codes(n: int, n_features: int, share: float = 0.3, seed: int = 1) -> Tensor:
    """Codes that are 0 but for a share, as a pass hands them over."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(n, n_features, generator=generator)
    return codes * (torch.rand(n, n_features, generator=generator) < share)


def colour_encoder(name: str = "colours") -> IndependentEncoder:
    """Sees the mean colour of pictures, and the letters of captions, in three numbers each."""

    def of_images(pictures: Iterable[Any]) -> Tensor:
        return torch.tensor(
            [picture.resize((1, 1)).getpixel((0, 0)) for picture in pictures]
        ).float()

    def of_texts(captions: Sequence[str]) -> Tensor:
        counts = [[caption.count(letter) for letter in "123"] for caption in captions]
        return torch.tensor(counts).float()

    return IndependentEncoder(name, name, name.__eq__, of_images, of_texts)
