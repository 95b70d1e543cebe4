"""Some images of a store with all their captions, held in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.stats.interfaces import PairChunk, PairedActivations

if TYPE_CHECKING:
    from PIL.Image import Image

# Pairs that are read at a time.
_CHUNK = 4096


@dataclass(frozen=True)
class SampledPairs:
    """Pairs in memory; answers `PairedActivations`."""

    images: Float[Tensor, "n_images d_image"]
    """One row per distinct image."""
    texts: Float[Tensor, "n_pairs d_text"]
    """One row per caption."""
    image_index: Int[Tensor, "n_pairs"]
    """Row of each caption's image."""
    image_ids: Sequence[str]
    """Names of the images."""
    captions: Sequence[str]
    """The captions."""
    labels: Mapping[str, Sequence[str]]
    """Labels by name, one value per pair."""
    source: PairedActivations
    """Where they were taken from."""
    source_rows: Int[Tensor, "n_images"]
    """Row of each image there."""

    def image_rows(self) -> Float[Tensor, "n_images d_image"]:
        """One row per distinct image."""
        return self.images

    def text_rows(self) -> Float[Tensor, "n_pairs d_text"]:
        """One row per caption."""
        return self.texts

    def iter_pairs(self, chunk: int, /) -> Iterator[PairChunk]:
        """Pairs in the order of the store, `chunk` at a time."""
        parts = zip(self.texts.split(chunk), self.image_index.split(chunk), strict=True)
        for texts, index in parts:
            yield self.images[index], texts, index

    def open_image(self, row: int, /) -> "Image | None":
        """The image itself, or None when its source is gone."""
        return self.source.open_image(int(self.source_rows[row]))


def sampled_pairs(store: PairedActivations, n_pairs: int, seed: int) -> PairedActivations:
    """Draw whole images at random, with all their captions, until no more fit.

    Memory is that of the pairs drawn and one number for each pair of the store.

    Parameters
    ----------
    store : PairedActivations
        It is read once, in order.
    n_pairs : int
        Most pairs to draw; two images are drawn in any case.
    seed : int
        Another seed draws other images.

    Returns
    -------
    PairedActivations
        In the order of the store; the store itself if it has no more pairs than that.
    """
    image_index = torch.as_tensor(store.image_index)
    if len(image_index) <= n_pairs:
        return store
    rows, counts = torch.unique(image_index, return_counts=True)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(rows)))
    n_drawn = max(int((counts[order].cumsum(0) <= n_pairs).sum()), min(2, len(rows)))
    return pairs_of_images(store, rows[order[:n_drawn]].sort().values)


def draw_images(n_images: int, n_drawn: int | None, seed: int) -> Int[Tensor, "n_drawn"]:
    """Draw rows of images without replacement, in ascending order; all where there are no more."""
    if n_drawn is None or n_drawn >= n_images:
        return torch.arange(n_images)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n_images, generator=generator)[:n_drawn].sort().values


def pairs_of_images(store: PairedActivations, drawn: Int[Tensor, "n_images"]) -> PairedActivations:
    """Keep some images with all their captions, numbered anew from 0.

    Memory is that of the pairs kept and one number for each pair of the store.

    Parameters
    ----------
    store : PairedActivations
        It is read once, in order.
    drawn : int64
        Rows of the images to keep, ascending.

    Returns
    -------
    PairedActivations
        In the order of the store; the store itself where every image is kept.
    """
    if len(drawn) == len(store.image_ids):
        return store
    kept = torch.isin(torch.as_tensor(store.image_index), drawn)
    index = torch.searchsorted(drawn, torch.as_tensor(store.image_index)[kept])
    images, texts = None, []
    start = 0
    for (acts_image, acts_text, _), mine in zip(
        store.iter_pairs(_CHUNK), kept.split(_CHUNK), strict=True
    ):
        if images is None:
            images = acts_image.new_zeros(len(drawn), acts_image.shape[1])
        texts.append(acts_text[mine])
        stop = start + int(mine.sum())
        # Captions of one image bring the same row again.
        images[index[start:stop]] = acts_image[mine]
        start = stop
    assert images is not None
    rows = [int(row) for row in kept.nonzero()[:, 0]]
    return SampledPairs(
        images=images,
        texts=torch.cat(texts),
        image_index=index,
        image_ids=[store.image_ids[int(row)] for row in drawn],
        captions=[store.captions[row] for row in rows],
        labels={name: [values[row] for row in rows] for name, values in store.labels.items()},
        source=store,
        source_rows=drawn,
    )
