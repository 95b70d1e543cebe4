"""Some images of a store, with their captions, as a store of their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.activations.partitions import rechunk
from mm_sae_plugin.stats.interfaces import PairChunk, PairedActivations

if TYPE_CHECKING:
    from PIL.Image import Image


def draw_images(n_images: int, n_chosen: int | None, seed: int) -> Int[Tensor, "n_chosen"]:
    """Draw rows of images without replacement, in ascending order; all where there are no more."""
    if n_chosen is None or n_chosen >= n_images:
        return torch.arange(n_images)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n_images, generator=generator)[:n_chosen].sort().values


class ChosenPairs:
    """The pairs of some images; answers `PairedActivations`.

    No row is read before it is asked for.

    Parameters
    ----------
    store : PairedActivations
        All pairs.
    images : Int[Tensor, "n_images"]
        Rows of the images to keep, ascending; they are numbered anew from 0.
    """

    def __init__(self, store: PairedActivations, images: Int[Tensor, "n_images"]) -> None:
        self.store = store
        self.images = images
        # Old row -> new row, -1 for images that are left out.
        self._new = torch.full((len(store.image_ids),), -1, dtype=torch.int64)
        self._new[images] = torch.arange(len(images))
        new = self._new[torch.as_tensor(store.image_index)]
        self._pairs = (new >= 0).nonzero().flatten()
        self.image_index: Int[Tensor, "n_pairs"] = new[self._pairs]
        """Row of each caption's image."""
        self.captions = self._of_pairs(store.captions)
        """The captions, one per pair."""
        self.image_ids = [str(store.image_ids[row]) for row in images.tolist()]
        """Names of the images."""

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Labels by name, one value per pair."""
        return {name: self._of_pairs(values) for name, values in self.store.labels.items()}

    def image_rows(self) -> Float[Tensor, "n_images d_in"]:
        """One row per image."""
        return self.store.image_rows()[self.images]

    def text_rows(self) -> Float[Tensor, "n_pairs d_in"]:
        """One row per caption."""
        return self.store.text_rows()[self._pairs]

    def iter_pairs(self, chunk: int) -> Iterator[PairChunk]:
        """Pairs in manifest order, `chunk` at a time."""
        for part in rechunk(self._parts(chunk), chunk):
            yield part[0], part[1], part[2]

    def open_image(self, row: int) -> "Image | None":
        """The image itself, or None when its source is gone."""
        return self.store.open_image(int(self.images[row]))

    def _parts(self, chunk: int) -> Iterator[list[Tensor]]:
        for acts_image, acts_text, index in self.store.iter_pairs(chunk):
            new = self._new[index]
            kept = new >= 0
            if kept.any():
                yield [acts_image[kept], acts_text[kept], new[kept]]

    def _of_pairs(self, values: Sequence[str]) -> list[str]:
        pairs: list[int] = self._pairs.tolist()
        return [values[pair] for pair in pairs]
