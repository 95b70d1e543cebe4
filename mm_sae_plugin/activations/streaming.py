"""Batches from a store that does not fit into memory: see :func:`streamed_batches`."""

from bisect import bisect_right
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.activations.chunks import Chunks, Runs, blocks_at
from mm_sae_plugin.activations.layout import StoreLayout
from mm_sae_plugin.activations.provider import ActivationBatches, Position, epoch_generator
from mm_sae_plugin.activations.row_blocks import RowBuffer, opened
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.saes.normalization import ModalityNormalization


class ChunkMemory:
    """Room for one chunk; which chunk is in it is told by what was read last."""

    def __init__(self, layout: StoreLayout, chunks: Chunks) -> None:
        self._layout = layout
        n_images = chunks.capacity if layout.texts is None else chunks.image_capacity
        self._images = RowBuffer(n_images, layout.images[0])
        self._texts = None
        if layout.texts is not None:
            self._texts = RowBuffer(chunks.capacity, layout.texts[0])
        self._image_of: Int[Tensor, "n_items"] | None = None

    def read(self, runs: Runs) -> None:
        """Replace what is here by some runs, in their order.

        Raises
        ------
        UserError
            If a file of the store is gone or cannot be read.
        """
        if self._texts is None:
            _read(self._images, self._layout.images, runs.block, runs.start, runs.stop)
            return
        assert self._layout.texts is not None
        _read(self._images, self._layout.images, runs.block, runs.image_start, runs.image_stop)
        _read(self._texts, self._layout.texts, runs.block, runs.start, runs.stop)
        self._image_of = _images_in_memory(self._layout, runs)

    def put_items(self, numbers: Int[Tensor, "n"], out: Float[Tensor, "n d_in"]) -> None:
        """Write captions, or rows of the one tower, into a part of a batch."""
        buffer = self._images if self._texts is None else self._texts
        _select(buffer.rows, numbers, out)

    def put_images(self, numbers: Int[Tensor, "n"], out: Float[Tensor, "n d_in"]) -> None:
        """Write the captions' images into a part of a batch."""
        assert self._image_of is not None
        _select(self._images.rows, self._image_of[numbers], out)


@dataclass(frozen=True)
class ReadChunk:
    """A chunk of an epoch that is in memory."""

    epoch: int
    """The epoch."""
    number: int
    """Which of its chunks."""
    order: Int[Tensor, "n_items"]
    """Its items in the order in which they are handed out."""
    memory: ChunkMemory
    """Its rows."""


class ChunkReader:
    """Reads chunks, always one ahead in a thread of its own.

    The thread reads into memory that the trainer does not look at, and ends with :meth:`close` or
    with the reader.
    """

    def __init__(self, layout: StoreLayout, chunks: Chunks, seed: int) -> None:
        self._layout = layout
        self._chunks = chunks
        self._seed = seed
        # Of this epoch and the next, or the one before.
        self._dealt: dict[int, Tensor] = {}
        self._bounds: dict[int, list[int]] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._current: ReadChunk | None = None
        self._ahead: tuple[tuple[int, int], Future[ReadChunk]] | None = None
        self._free: list[ChunkMemory] = []

    def at(self, position: int) -> tuple[ReadChunk, int]:
        """Return the chunk in which an item of the endless stream lies, and its place there.

        The chunk stays in memory until the next call.

        Raises
        ------
        UserError
            If a file of the store is gone or cannot be read.
        """
        epoch, offset = divmod(position, self._chunks.n_items)
        bounds = self._bounds_of(epoch)
        number = bisect_right(bounds, offset) - 1
        current = self._current
        if current is None or (current.epoch, current.number) != (epoch, number):
            current = self._moved_to(epoch, number)
        return current, offset - bounds[number]

    def close(self) -> None:
        """End the thread and let go of the memory; reading on begins anew."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread, self._current, self._ahead, self._free = None, None, None, []

    def _moved_to(self, epoch: int, number: int) -> ReadChunk:
        before = self._current
        if before is not None and self._chunks.n_chunks == 1:
            # The rows are all here, and only their order is another.
            order = self._order(epoch, number, len(before.order))
            self._current = ReadChunk(epoch, number, order, before.memory)
            return self._current
        if self._ahead is None or self._ahead[0] != (epoch, number):
            # At the beginning, and where the provider was set to another place.
            self.close()
            before = None
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="activation-reader")
            n_in_memory = min(2, self._chunks.n_chunks)
            self._free = [ChunkMemory(self._layout, self._chunks) for _ in range(n_in_memory)]
            self._begin(epoch, number)
        assert self._ahead is not None
        try:
            self._current = self._ahead[1].result()
        except BaseException:
            self.close()
            raise
        self._ahead = None
        if before is not None:
            self._free.append(before.memory)
        if self._free:
            is_last = number + 1 == self._chunks.n_chunks
            self._begin(*((epoch + 1, 0) if is_last else (epoch, number + 1)))
        return self._current

    def _begin(self, epoch: int, number: int) -> None:
        assert self._thread is not None
        future = self._thread.submit(self._read, epoch, number, self._free.pop())
        self._ahead = (epoch, number), future

    def _read(self, epoch: int, number: int, memory: ChunkMemory) -> ReadChunk:
        numbers = (self._dealt_in(epoch) == number).nonzero().flatten()
        runs = self._chunks.runs.chosen(numbers)
        memory.read(runs)
        n_items = int((runs.stop - runs.start).sum())
        return ReadChunk(epoch, number, self._order(epoch, number, n_items), memory)

    def _order(self, epoch: int, number: int, n_items: int) -> Int[Tensor, "n_items"]:
        return torch.randperm(n_items, generator=epoch_generator(self._seed, epoch, number))

    def _bounds_of(self, epoch: int) -> list[int]:
        """Where each chunk of an epoch begins."""
        if epoch not in self._bounds:
            sizes = self._chunks.sizes(self._dealt_in(epoch))
            self._bounds = {epoch: [0, *sizes.cumsum(0)[:-1].tolist()]}
        return self._bounds[epoch]

    def _dealt_in(self, epoch: int) -> Tensor:
        dealt = self._dealt.get(epoch)
        if dealt is None:
            dealt = self._chunks.dealt(self._seed, epoch)
            # The other thread may be an epoch ahead or behind.
            kept = {e: d for e, d in self._dealt.items() if abs(e - epoch) == 1}
            self._dealt = {**kept, epoch: dealt}
        return dealt


class StreamedBatches(ActivationBatches):
    """Batches of a store on disk: see :func:`streamed_batches`."""

    def __init__(
        self,
        layout: StoreLayout,
        chunks: Chunks,
        batch_size: int,
        seed: int,
        normalization: ModalityNormalization | None,
    ) -> None:
        self._is_paired = layout.texts is not None
        n_per_batch = batch_size // 2 if self._is_paired else batch_size
        super().__init__(Position(chunks.n_items, n_per_batch, seed), batch_size)
        self._d_in = layout.images[0].width
        self._chunks = chunks
        self._reader = ChunkReader(layout, chunks, seed)
        self._normalization = normalization or ModalityNormalization.identity(self._d_in)

    def __next__(self) -> Float[Tensor, "batch d_in"]:
        batch = torch.empty(self.batch_size, self._d_in)
        n_items = self._stream.n_per_batch
        # Images come first, their captions after them.
        images, items = batch[: self.batch_size - n_items], batch[self.batch_size - n_items :]
        first, n_done = self._stream.n_batches * n_items, 0
        while n_done < n_items:
            chunk, at = self._reader.at(first + n_done)
            numbers = chunk.order[at : at + n_items - n_done]
            part = slice(n_done, n_done + len(numbers))
            chunk.memory.put_items(numbers, items[part])
            if self._is_paired:
                chunk.memory.put_images(numbers, images[part])
            n_done += len(numbers)
        self._normalize(images if self._is_paired else items, "image")
        if self._is_paired:
            self._normalize(items, "text")
        self._stream.n_batches += 1
        return batch

    def close(self) -> None:
        """End the thread that reads ahead and let go of the memory."""
        self._reader.close()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that :meth:`load_state_dict` needs, as plain numbers."""
        return {**super().state_dict(), **order_of(self._chunks)}

    def _normalize(self, rows: Float[Tensor, "n d_in"], modality: Modality) -> None:
        if not self._normalization.is_identity:
            mean, scale = self._normalization.of(modality, rows)
            rows.sub_(mean).mul_(scale)


def streamed_batches(
    layout: StoreLayout,
    chunks: Chunks,
    *,
    batch_size: int,
    seed: int = 0,
    normalization: ModalityNormalization | None = None,
) -> StreamedBatches:
    """Feed a SAELens trainer from a store that is larger than memory.

    The batches are what ``paired_batches`` and ``row_batches`` give, of the same shape and with
    every pair (or row) exactly once in an epoch; only their order is another, and rows are read
    while the trainer works. See :mod:`mm_sae_plugin.activations.chunks` for the order.

    Parameters
    ----------
    layout : StoreLayout
        The store; of images alone, batches are rows of the one tower.
    chunks : Chunks
        How it is cut, which decides how much memory is taken.
    batch_size : int
        Rows of a batch, even for pairs; the trainer's ``train_batch_size_samples``.
    seed : int
        Seed of the order.
    normalization : ModalityNormalization, optional
        What the rows of each modality pass on their way.

    Returns
    -------
    StreamedBatches
        An endless iterator in float32, with ``state_dict``, ``load_state_dict`` and ``close``.
    """
    return StreamedBatches(layout, chunks, batch_size, seed, normalization)


def order_of(chunks: Chunks) -> dict[str, int]:
    """Return what decides the order beside the seed; nothing, where there is but one chunk."""
    if chunks.n_chunks == 1:
        return {}
    return {"n_chunks": chunks.n_chunks, "run_length": chunks.run_length}


def _read(buffer: RowBuffer, blocks: Any, block: Tensor, start: Tensor, stop: Tensor) -> None:
    firsts, at = blocks_at(blocks), 0
    numbers, begins, ends = block.tolist(), start.tolist(), stop.tolist()
    place = 0
    while place < len(numbers):
        number = numbers[place]
        with opened(blocks[number].path) as file:
            while place < len(numbers) and numbers[place] == number:
                begin, end = begins[place] - firsts[number], ends[place] - firsts[number]
                buffer.read(file, blocks[number], begin, end, at)
                at, place = at + end - begin, place + 1


def _images_in_memory(layout: StoreLayout, runs: Runs) -> Int[Tensor, "n_items"]:
    """Where the image of each caption lies once the runs are in memory."""
    assert layout.image_index is not None
    lengths, n_images = runs.stop - runs.start, runs.image_stop - runs.image_start
    places = torch.arange(int(lengths.sum()))
    # From a place in memory to the caption's place in the store, and the same for its image.
    to_store = runs.start - (lengths.cumsum(0) - lengths)
    to_memory = n_images.cumsum(0) - n_images - runs.image_start
    places += to_store.repeat_interleave(lengths)
    return layout.image_index[places].long() + to_memory.repeat_interleave(lengths)


def _select(rows: Tensor, numbers: Tensor, out: Tensor) -> None:
    if rows.dtype == out.dtype:
        torch.index_select(rows, 0, numbers, out=out)
    else:
        out.copy_(rows.index_select(0, numbers))
