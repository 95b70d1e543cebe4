"""One tower's rows of a store, left on disk until they are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.activations.partitions import rechunk
from mm_sae_plugin.activations.row_blocks import RowBlock, RowBuffer, n_rows_of, opened
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.saes.normalization import ModalityNormalization

# Of one part that is read; few, as whoever asks for parts works in float64.
_PART_ELEMENTS = 2**18


@dataclass(frozen=True)
class StoredRows:
    """Rows on disk that answer what a training asks of a tensor ``[n_rows, d_in]``.

    Everything comes in float32, normalised if a normalisation was given.
    """

    blocks: Sequence[RowBlock]
    """Where they lie, in order; all of one width and type."""
    modality: Modality
    """Whose they are."""
    mean_on_disk: Float[Tensor, "d_in"]
    """Mean of the rows as they lie there, in float64."""
    normalization: ModalityNormalization | None = None
    """What they pass when they are read."""

    def __len__(self) -> int:
        return n_rows_of(self.blocks)

    @property
    def shape(self) -> torch.Size:
        """Rows and width."""
        return torch.Size((len(self), self.blocks[0].width))

    def normalized(self, normalization: ModalityNormalization) -> "StoredRows":
        """Return the same rows behind a normalisation."""
        return replace(self, normalization=normalization)

    def split(self, size: int) -> Iterator[Float[Tensor, "rows d_in"]]:
        """Yield the rows in order, at most ``size`` at a time; no more are in memory."""
        size = max(1, min(size, _PART_ELEMENTS // self.blocks[0].width))
        for (rows,) in rechunk(self._parts(size), size):
            yield self._prepared(rows)

    def mean(self, dim: int, dtype: torch.dtype) -> Float[Tensor, "d_in"]:
        """Return the mean row, which the store knows without reading them."""
        assert dim == 0
        return self._prepared_wide(self.mean_on_disk).to(dtype)

    def __getitem__(self, every: slice) -> Float[Tensor, "rows d_in"]:
        """Return evenly spaced rows, such as ``rows[::100]``."""
        buffer = RowBuffer(len(range(*every.indices(len(self)))), self.blocks[0])
        first, at = 0, 0
        start, stop, step = every.indices(len(self))
        assert step > 0
        for block in self.blocks:
            with opened(block.path) as file:
                while start < min(stop, first + block.n_rows):
                    buffer.read(file, block, start - first, start - first + 1, at)
                    start, at = start + step, at + 1
            first += block.n_rows
        return self._prepared(buffer.rows)

    def _parts(self, size: int) -> Iterator[list[Tensor]]:
        for block in self.blocks:
            with opened(block.path) as file:
                for start in range(0, block.n_rows, size):
                    stop = min(start + size, block.n_rows)
                    buffer = RowBuffer(stop - start, block)
                    buffer.read(file, block, start, stop, 0)
                    yield [buffer.rows]

    def _prepared(self, rows: Tensor) -> Tensor:
        return self._prepared_wide(rows.float())

    def _prepared_wide(self, rows: Tensor) -> Tensor:
        if self.normalization is None:
            return rows
        return self.normalization.apply(rows, self.modality)
