"""The order of a training whose rows are on disk: chunks that are each a sample of the store.

A store is cut into short *runs* of consecutive items, long enough to be read fast. In every epoch
the runs are dealt out to *chunks*, and a chunk is held in memory as a whole and shuffled. Runs
that are neighbours in the store go to different chunks, so that each chunk holds every part of the
store in equal measure: even in a store that is sorted, one chunk looks like another.

The order follows from the seed and the position alone. With one chunk it is the order that
:class:`~mm_sae_plugin.activations.provider.ShuffledStream` gives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mm_sae_plugin.activations.layout import StoreLayout
from mm_sae_plugin.activations.provider import epoch_generator
from mm_sae_plugin.activations.row_blocks import RowBlock, n_rows_of

# A local disk reads pieces of this size nearly as fast as it reads everything.
_RUN_BYTES = 2**17
# Fewer would be too small a sample of the store, should it be sorted.
_RUNS_PER_CHUNK = 512
# Places in the shuffled order and images of the captions, and what is held to work them out.
_BYTES_PER_ITEM = 48
_BYTES_PER_RUN = 80
# What is held of the runs may take such a share of the memory, or they are made longer.
_SHARE_OF_RUNS = 1 / 8
# Sets the dealing out of an epoch's runs apart from the shuffling of its chunks.
_DEALING = -1


@dataclass(frozen=True)
class Runs:
    """Consecutive items of a store, each run inside one shard."""

    block: Int[Tensor, "n_runs"]
    """Number of its shard."""
    start: Int[Tensor, "n_runs"]
    """Its first item in the store."""
    stop: Int[Tensor, "n_runs"]
    """One after its last item."""
    image_start: Int[Tensor, "n_runs"]
    """The first image of its captions; 0 in a store of images alone, as is `image_stop`."""
    image_stop: Int[Tensor, "n_runs"]
    """One after the last image of its captions."""

    @classmethod
    def of(cls, layout: StoreLayout, length: int) -> "Runs":
        """Cut a store into runs of ``length`` items, the last of each shard being shorter."""
        blocks, starts, stops, first = [], [], [], 0
        for number, block in enumerate(layout.items):
            start = torch.arange(first, first + block.n_rows, length)
            starts.append(start)
            stops.append((start + length).clamp(max=first + block.n_rows))
            blocks.append(torch.full_like(start, number))
            first += block.n_rows
        start, stop, index = torch.cat(starts), torch.cat(stops), layout.image_index
        if index is None:
            nothing = torch.zeros_like(start)
            return cls(torch.cat(blocks), start, stop, nothing, nothing)
        # Captions of one image stand together and images in order.
        return cls(torch.cat(blocks), start, stop, index[start].long(), index[stop - 1].long() + 1)

    def __len__(self) -> int:
        return len(self.start)

    def chosen(self, numbers: Int[Tensor, "chosen"]) -> "Runs":
        """Return some of the runs, those that follow each other in a shard as one."""
        begins = torch.ones(len(numbers), dtype=torch.bool)
        block = self.block[numbers]
        begins[1:] = (numbers.diff() != 1) | (block.diff() != 0)
        first, last = numbers[begins], numbers[begins.roll(-1)]
        return Runs(
            self.block[first],
            self.start[first],
            self.stop[last],
            self.image_start[first],
            self.image_stop[last],
        )


@dataclass(frozen=True)
class Chunks:
    """How a store is cut into chunks, whatever the seed."""

    runs: Runs
    """All runs of the store."""
    run_length: int
    """Items of a run, at most."""
    n_chunks: int
    """Chunks of an epoch."""
    capacity: int
    """Items of a chunk, at most."""
    image_capacity: int
    """Images of a chunk, at most; 0 in a store of images alone."""

    @classmethod
    def of(cls, runs: Runs, run_length: int, n_chunks: int) -> "Chunks":
        """Cut runs into chunks, at least one run in each."""
        assert 1 <= n_chunks <= len(runs)
        capacity = _most_per_chunk(runs.stop - runs.start, n_chunks)
        images = _most_per_chunk(runs.image_stop - runs.image_start, n_chunks)
        return cls(runs, run_length, n_chunks, capacity, images)

    @property
    def n_items(self) -> int:
        """Length of an epoch."""
        return int(self.runs.stop[-1])

    def dealt(self, seed: int, epoch: int) -> Int[Tensor, "n_runs"]:
        """Return the chunk of each run in an epoch.

        Of each ``n_chunks`` neighbours every chunk gets one; of the last few, some chunks do.
        """
        n_rounds = -(-len(self.runs) // self.n_chunks)
        generator = epoch_generator(seed, epoch, _DEALING)
        order = torch.rand(n_rounds, self.n_chunks, generator=generator).argsort(dim=1)
        return order.flatten()[: len(self.runs)]

    def sizes(self, dealt: Int[Tensor, "n_runs"]) -> Int[Tensor, "n_chunks"]:
        """Return the items of each chunk."""
        sizes = torch.zeros(self.n_chunks, dtype=torch.long)
        return sizes.index_add_(0, dealt, self.runs.stop - self.runs.start)


def n_bytes_held(layout: StoreLayout, chunks: Chunks) -> int:
    """Return what a provider holds in memory: the chunk that is used, and the next one."""
    n_in_memory = 1 if chunks.n_chunks == 1 else 2
    n_bytes = chunks.capacity * (layout.items[0].n_bytes_per_row + _BYTES_PER_ITEM)
    if layout.texts is not None:
        n_bytes += chunks.image_capacity * layout.images[0].n_bytes_per_row
    return n_in_memory * n_bytes + len(chunks.runs) * _BYTES_PER_RUN + layout.n_bytes_held


def least_bytes(layout: StoreLayout, n_items: int) -> int:
    """Return in how much memory a chunk of ``n_items`` surely fits."""
    per_item = layout.items[0].n_bytes_per_row + _BYTES_PER_ITEM
    if layout.texts is not None:
        per_item += layout.images[0].n_bytes_per_row
    # Room for two chunks of that size, and for two of a single run, which has to be the longer the
    # less memory there is.
    runs = math.sqrt(2.5 * _BYTES_PER_RUN / _SHARE_OF_RUNS * layout.n_items * per_item)
    held = layout.n_bytes_held + 2 * len(layout.items) * _BYTES_PER_RUN
    return held + 3 * (n_items + 1) * per_item + math.ceil(runs)


def chunks_within(layout: StoreLayout, max_bytes: int) -> Chunks | None:
    """Cut a store into as few chunks as fit into memory.

    Parameters
    ----------
    layout : StoreLayout
        The store.
    max_bytes : int
        What :func:`n_bytes_held` may be.

    Returns
    -------
    Chunks or None
        None if not even chunks of a single run fit.
    """
    available = max_bytes - layout.n_bytes_held
    if available <= 0:
        return None
    length = _run_length(layout, available)
    runs = Runs.of(layout, length)
    n_chunks = 1
    while n_chunks <= len(runs):
        chunks = Chunks.of(runs, length, n_chunks)
        held = n_bytes_held(layout, chunks)
        if held <= max_bytes:
            return chunks
        fixed = len(runs) * _BYTES_PER_RUN + layout.n_bytes_held
        if max_bytes <= fixed:
            return None
        # At least one more, and as many as it takes if chunks shrink in proportion.
        n_chunks = max(n_chunks + 1, n_chunks * (held - fixed) // (max_bytes - fixed))
    return None


def _bytes_per_item(layout: StoreLayout) -> int:
    n_bytes = layout.items[0].n_bytes_per_row + _BYTES_PER_ITEM
    if layout.texts is not None:
        images_per_item = min(1.0, n_rows_of(layout.images) / layout.n_items)
        n_bytes += int(layout.images[0].n_bytes_per_row * images_per_item)
    return n_bytes


def _run_length(layout: StoreLayout, available: int) -> int:
    longest = max(block.n_rows for block in layout.items)
    n_per_chunk = available // (2 * _bytes_per_item(layout))
    fast = _RUN_BYTES // layout.items[0].n_bytes_per_row
    shortest = math.ceil(layout.n_items * _BYTES_PER_RUN / (_SHARE_OF_RUNS * available))
    return min(longest, max(1, shortest, min(fast, n_per_chunk // _RUNS_PER_CHUNK)))


def _most_per_chunk(sizes: Int[Tensor, "n_runs"], n_chunks: int) -> int:
    n_rounds = -(-len(sizes) // n_chunks)
    padded = torch.zeros(n_rounds * n_chunks, dtype=torch.long)
    padded[: len(sizes)] = sizes
    return int(padded.view(n_rounds, n_chunks).amax(dim=1).sum())


def blocks_at(blocks: Sequence[RowBlock]) -> list[int]:
    """Return the first row of each block, counted through all of them."""
    firsts, first = [], 0
    for block in blocks:
        firsts.append(first)
        first += block.n_rows
    return firsts
