"""The tables of a store: what the images and the pairs are called, beside their rows."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_sae_plugin.activations.shards import write_bytes
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

IMAGES_TABLE = "images.parquet"
PAIRS_TABLE = "pairs.parquet"


def write_table(path: Path, table: "pa.Table") -> None:
    """Write a table as Parquet; a full disk is a ``UserError``."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_table(path: Path, columns: list[str] | None = None) -> Any:
    """Read a table, or some of its columns.

    Raises
    ------
    UserError
        If the file is gone or cannot be read.
    """
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_REMEDY}") from error


def iter_column(path: Path, column: str) -> Iterator[Any]:
    """Yield a column of numbers as NumPy arrays, a part at a time.

    Raises
    ------
    UserError
        If the file is gone or cannot be read.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[column]):
                # A copy, as Arrow's own memory may not be written to.
                yield batch.column(0).to_numpy(zero_copy_only=False).copy()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_REMEDY}") from error


_REMEDY = "run the extraction of the store again."


def repeated_strings(column: "pa.ChunkedArray") -> list[str]:
    """Return a column of strings, none missing, of which few are distinct; each is made once."""
    strings: list[str] = []
    for chunk in column.dictionary_encode().iterchunks():
        distinct = np.array(chunk.dictionary.to_pylist(), dtype=object)
        strings += distinct[chunk.indices.to_numpy()].tolist()
    return strings
