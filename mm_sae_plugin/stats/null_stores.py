"""Stand-ins for a store under a null: pairs that belong to no one, and activations of no meaning.

Both answer `PairedActivations`, so that every statistic runs on them as on a store.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.clusters import mixed_bits
from mm_sae_plugin.stats.interfaces import PairChunk, PairedActivations
from mm_sae_plugin.stats.pair_moments import PairMoments, pair_moments

if TYPE_CHECKING:
    from PIL.Image import Image


class ShuffledPairs:
    """Captions beside another image than their own.

    Captions of one image stay together and all go to one other image, which has as many captions
    where there is such an image: then every image counts as often as before, and no mean over
    images or over captions moves. What is known of the pairs (labels) is gone.

    Memory is one row for each image: give a sample of a large store (`sampled.sampled_pairs`).

    Parameters
    ----------
    store : PairedActivations
        The pairs as they belong.
    seed : int
        Another seed gives other pairs.

    Raises
    ------
    UserError
        If all captions belong to one image.
    """

    def __init__(self, store: PairedActivations, seed: int) -> None:
        self.store = store
        self.image_index: Int[Tensor, "n_pairs"] = other_images(
            torch.as_tensor(store.image_index), seed
        )
        """Row of the image that each caption was given."""
        self.labels: Mapping[str, Sequence[str]] = {}

    @property
    def captions(self) -> Sequence[str]:
        """The captions, in the store's order."""
        return self.store.captions

    @property
    def image_ids(self) -> Sequence[str]:
        """Names of the images."""
        return self.store.image_ids

    @cached_property
    def _images(self) -> Float[Tensor, "n_images d_image"]:
        return self.store.image_rows()

    def image_rows(self) -> Float[Tensor, "n_images d_image"]:
        """One row per distinct image, as in the store."""
        return self._images

    def text_rows(self) -> Float[Tensor, "n_pairs d_text"]:
        """One row per caption, as in the store."""
        return self.store.text_rows()

    def iter_pairs(self, chunk: int, /) -> Iterator[PairChunk]:
        """Captions in the store's order, each beside the image it was given."""
        parts = zip(self.store.iter_pairs(chunk), self.image_index.split(chunk), strict=True)
        for (_, acts_text, _), index in parts:
            yield self._images[index], acts_text, index

    def open_image(self, row: int, /) -> "Image | None":
        """The image itself, or None when its source is gone."""
        return self.store.open_image(row)


def other_images(image_index: Int[Tensor, "n_pairs"], seed: int) -> Int[Tensor, "n_pairs"]:
    """Give the captions of every image to another image, never to their own.

    Images of equally many captions are put into a random order and everyone's captions go one
    place on. An image that no other equals in this joins those with the next number of captions.

    Raises
    ------
    UserError
        If there is only one image.
    """
    rows, n_captions = torch.unique(image_index, return_counts=True)
    if len(rows) < 2:
        raise UserError(
            "Pairs of a single image cannot be shuffled, as there is no other image for its "
            "captions: give a store of at least two images."
        )
    chance = np.random.default_rng(seed).random(len(rows))
    order = np.lexsort((chance, n_captions.numpy()))
    given = np.empty_like(order)
    for members in _of_equal_counts(order, n_captions.numpy()[order]):
        given[members] = np.roll(members, 1)
    return rows[torch.from_numpy(given)][torch.searchsorted(rows, image_index)]


def _of_equal_counts(order: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Cut images in order of their number of captions where it changes, never one alone."""
    starts = [0]
    for start in np.flatnonzero(np.diff(counts)) + 1:
        if start - starts[-1] >= 2:
            starts.append(int(start))
    if len(starts) > 1 and len(order) - starts[-1] < 2:
        starts.pop()
    return np.split(order, starts[1:])


class GaussianPairs:
    """Activations drawn from one Gaussian with the mean and the covariance of a store's pairs.

    An image is drawn once, and its captions given the image, independently of each other: a pair
    has the mean and the covariance of [image; caption] over the store's pairs. All that is linear
    is kept, the modality gap and how well one side can be read from the other among it; that
    activations consist of sparse concepts is lost. Where the rows of a side have unit length, those
    drawn are brought to it, which moves their moments a little.

    Every row follows from the seed and its own number, so that it does not matter how the rows are
    cut. Memory is that of the covariance, O((d_image + d_text)²), and of a chunk.

    Parameters
    ----------
    store : PairedActivations
        Read once for its moments; pairs, images and their number are those of the store.
    seed : int
        Another seed draws other rows.
    """

    def __init__(self, store: PairedActivations, seed: int) -> None:
        self.seed = seed
        self.moments: PairMoments = pair_moments(store)
        self.image_index: Int[Tensor, "n_pairs"] = torch.as_tensor(store.image_index)
        self.image_ids: Sequence[str] = store.image_ids
        self.captions: Sequence[str] = [""] * len(self.image_index)
        """Empty: no one said anything."""
        self.labels: Mapping[str, Sequence[str]] = {}

    def image_rows(self) -> Float[Tensor, "n_images d_image"]:
        """One row per distinct image."""
        return self._images(torch.arange(len(self.image_ids)))[1]

    def text_rows(self) -> Float[Tensor, "n_pairs d_text"]:
        """One row per caption."""
        return self._pairs(torch.arange(len(self.image_index)))[1]

    def iter_pairs(self, chunk: int, /) -> Iterator[PairChunk]:
        """Pairs in the store's order, `chunk` at a time."""
        n_pairs = len(self.image_index)
        for start in range(0, n_pairs, chunk):
            yield self._pairs(torch.arange(start, min(start + chunk, n_pairs)))

    def open_image(self, row: int, /) -> "Image | None":
        """None: there is no such image."""
        return None

    def _pairs(self, rows: Int[Tensor, "rows"]) -> PairChunk:
        index = self.image_index[rows]
        distinct, place = torch.unique(index, return_inverse=True)
        centred, images = self._images(distinct)
        moments = self.moments
        own = normal_rows(rows, moments.text_given_image.shape[1], 2 * self.seed + 1)
        texts = (
            moments.mean_text
            + centred[place] @ moments.text_on_image
            + own @ moments.text_given_image.T
        )
        return images[place], _as_long(texts, moments.unit_text), index

    def _images(
        self, rows: Int[Tensor, "rows"]
    ) -> tuple[Float[Tensor, "rows d_image"], Float[Tensor, "rows d_image"]]:
        """Rows less their mean as drawn, in float64, and rows as they are handed out."""
        root = self.moments.image_root
        centred = normal_rows(rows, root.shape[1], 2 * self.seed) @ root.T
        return centred, _as_long(self.moments.mean_image + centred, self.moments.unit_image)


def normal_rows(rows: Int[Tensor, "rows"], width: int, seed: int) -> Float[Tensor, "rows width"]:
    """Standard normal numbers in float64 that follow from the number of the row, whatever else is
    drawn beside it.
    """
    from scipy.special import ndtri

    cells = rows[:, None] * width + torch.arange(width)
    bits = mixed_bits(cells.flatten(), seed) >> np.uint64(11)
    # The middle of one of 2**53 equal stretches: never 0 or 1.
    return torch.from_numpy(ndtri((bits + 0.5) * 2.0**-53)).view(len(rows), width)


def _as_long(rows: Float[Tensor, "rows d"], to_unit: bool) -> Float[Tensor, "rows d"]:
    if to_unit:
        rows = torch.nn.functional.normalize(rows, dim=1)
    return rows.to(torch.float32)
