"""Consecutive pairs of a store, small enough to name that other processes can be sent them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.activations.manifest import MANIFEST, ShardInfo, StoreManifest
from mm_sae_plugin.activations.shards import read_shard_rows
from mm_sae_plugin.activations.tables import PAIRS_TABLE, read_table
from mm_sae_plugin.errors import UserError


class PairBatch(NamedTuple):
    """Consecutive pairs, one row per caption."""

    acts_image: Float[Tensor, "batch d_image"]
    """Image activations in float32, repeated for each caption of an image."""
    acts_text: Float[Tensor, "batch d_text"]
    """Text activations in float32."""
    image_index: Int[Tensor, "batch"]
    """Row of each caption's image in the store."""
    rows: slice
    """Which pairs of the store these are."""


@dataclass(frozen=True)
class Partition:
    """The pairs ``start`` to ``stop`` of a complete store, in manifest order.

    It holds a path and two numbers, so that it pickles; whoever reads it finds the store there.
    """

    path: Path
    """The store's folder."""
    start: int
    """The first pair."""
    stop: int
    """One after the last."""

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        """Which pairs these are, in words."""
        return f"pairs {self.start:,} to {self.stop - 1:,} of {self.path}"

    @property
    def first_of_image(self) -> Bool[Tensor, "n_pairs"]:
        """Which of the pairs are the first of their image in the whole store."""
        _, image_index = _layout(self.path, _time_of_manifest(self.path))
        before = image_index[self.start - 1] if self.start else torch.tensor(-1)
        index = image_index[self.start : self.stop]
        return torch.diff(index, prepend=before[None]) != 0

    def iter_pairs(self, chunk: int | None = None) -> Iterator[PairBatch]:
        """Yield the pairs in order, ``chunk`` at a time; only their own rows are read.

        Parameters
        ----------
        chunk
            Pairs in each batch but the last; all in one by default.

        Raises
        ------
        UserError
            If a file of the store is gone or cannot be read.
        """
        start = self.start
        for acts_image, acts_text, index in rechunk(self._parts(), chunk or max(len(self), 1)):
            stop = start + len(index)
            yield PairBatch(acts_image.float(), acts_text.float(), index, slice(start, stop))
            start = stop

    def _parts(self) -> Iterator[list[Tensor]]:
        shards, image_index = _layout(self.path, _time_of_manifest(self.path))
        first_image = first_pair = 0
        for shard in shards:
            start = max(self.start, first_pair)
            stop = min(self.stop, first_pair + shard.n_pairs)
            if start < stop:
                index = image_index[start:stop]
                # Captions of one image stand together and images in order, so these do as well.
                low, high = int(index[0]), int(index[-1]) + 1
                (images,) = read_shard_rows(
                    self.path, shard, ("image_rows",), low - first_image, high - first_image
                )
                (texts,) = read_shard_rows(
                    self.path, shard, ("text_rows",), start - first_pair, stop - first_pair
                )
                yield [images[index - low], texts, index]
            first_image += shard.n_images
            first_pair += shard.n_pairs


def rechunk(parts: Iterator[list[Tensor]], chunk: int) -> Iterator[list[Tensor]]:
    """Cut parallel tensors into pieces of ``chunk`` rows, whatever the sizes they come in."""
    assert chunk >= 1
    held: list[Tensor] | None = None
    for part in parts:
        joined = part if held is None else [torch.cat(two) for two in zip(held, part, strict=True)]
        n_whole = len(joined[0]) // chunk * chunk
        for start in range(0, n_whole, chunk):
            yield [tensor[start : start + chunk] for tensor in joined]
        held = [tensor[n_whole:] for tensor in joined]
    if held is not None and len(held[0]):
        yield held


def _time_of_manifest(path: Path) -> int:
    try:
        return (path / MANIFEST).stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"The activation store {path} is gone ({error.strerror}).") from error


# A process meets many partitions of few stores. A store that is made anew gets a new manifest.
@lru_cache(maxsize=4)
def _layout(path: Path, mtime_ns: int) -> tuple[list[ShardInfo], Int[Tensor, "n_pairs"]]:
    column = read_table(path / PAIRS_TABLE, ["image_row"]).column("image_row")
    return StoreManifest.load(path).shards, torch.from_numpy(column.to_numpy().copy())
