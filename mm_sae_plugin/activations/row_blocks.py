"""Rows of a shard, read into memory that is there already.

``safetensors`` maps a file: what was read of it then counts as this process's memory for as long
as the file is open, and each read takes new memory. Training on a store larger than memory wants
neither, and reads the same bytes with ``preadv``, which lets other threads run meanwhile.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mm_sae_plugin.activations.manifest import ShardInfo
from mm_sae_plugin.activations.shards import REMEDY
from mm_sae_plugin.errors import UserError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


@dataclass(frozen=True)
class RowBlock:
    """Where the rows of one tower lie in a shard."""

    path: Path
    """The shard."""
    offset: int
    """Its byte where the first row begins."""
    n_rows: int
    """Rows in it."""
    width: int
    """Numbers in a row."""
    dtype: torch.dtype
    """Their type."""

    @classmethod
    def find(cls, folder: Path, shard: ShardInfo, name: str) -> "RowBlock":
        """Look up a tensor of rows in a shard's header.

        Raises
        ------
        UserError
            If the file is gone or cannot be read.
        """
        path = folder / shard.file
        try:
            with open(path, "rb") as file:
                n_header = int.from_bytes(file.read(8), "little")
                entry = json.loads(file.read(n_header))[name]
            n_rows, width = entry["shape"]
            start = 8 + n_header + entry["data_offsets"][0]
            return cls(path, start, n_rows, width, _DTYPES[entry["dtype"]])
        except (OSError, ValueError, KeyError, MemoryError) as error:
            raise UserError(f"{path} cannot be read ({error}): {REMEDY}") from error

    @property
    def n_bytes_per_row(self) -> int:
        """Bytes of one row in the file."""
        return self.width * self.dtype.itemsize


class RowBuffer:
    """Memory for rows of one width and type, filled from files.

    Parameters
    ----------
    n_rows : int
        Rows that it has room for.
    like : RowBlock
        Says width and type.
    """

    def __init__(self, n_rows: int, like: RowBlock) -> None:
        self.rows: Tensor = torch.empty(n_rows, like.width, dtype=like.dtype)
        self._n_bytes_per_row = like.n_bytes_per_row
        # NumPy knows no bfloat16, and a file only bytes.
        self._bytes = memoryview(self.rows.view(torch.uint8).flatten().numpy())  # pyright: ignore[reportArgumentType]

    def read(self, file: int, block: RowBlock, start: int, stop: int, at: int) -> None:
        """Read rows of an open file into the buffer.

        Parameters
        ----------
        file : int
            What :func:`opened` gave for the block's shard.
        block : RowBlock
            Where the rows lie in it.
        start, stop : int
            Which of its rows.
        at : int
            Row of the buffer where they go.

        Raises
        ------
        UserError
            If the file ends too early or cannot be read.
        """
        size = self._n_bytes_per_row
        assert block.n_bytes_per_row == size and 0 <= start <= stop <= block.n_rows
        target = self._bytes[at * size : (at + stop - start) * size]
        offset = block.offset + start * size
        while len(target):
            try:
                n_read = os.preadv(file, [target], offset)
            except OSError as error:
                raise UserError(f"{block.path} cannot be read ({error}): {REMEDY}") from error
            if n_read == 0:
                raise UserError(f"{block.path} cannot be read (it ends too early): {REMEDY}")
            target, offset = target[n_read:], offset + n_read


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a shard for :meth:`RowBuffer.read`.

    Raises
    ------
    UserError
        If the file is gone or cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}): {REMEDY}") from error
    try:
        yield file
    finally:
        os.close(file)


def n_rows_of(blocks: Sequence[RowBlock]) -> int:
    """Return how many rows the blocks have together."""
    return sum(block.n_rows for block in blocks)
