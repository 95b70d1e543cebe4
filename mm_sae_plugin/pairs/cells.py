"""The cells of a table file, column by column, whatever its format."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.pairs.captions import BadText, read_text
from mm_sae_plugin.pairs.delimited import BadRow, Row, read_csv, read_tsv
from mm_sae_plugin.pairs.records import Skipped

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@runtime_checkable
class Cells(Protocol):
    """A table: names, columns, and where each row stands in the file."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns, in their order."""
        ...

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Lines that are no rows, each with its reason."""
        ...

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column, one per row."""
        ...

    def place(self, row: int) -> str:
        """Say where a row stands."""
        ...


def read_cells(path: Path, encoding: str | None = None) -> Cells:
    """Read a table whose format its suffix names.

    Raises
    ------
    UserError
        If it is missing, damaged, no text in its encoding, or has a line that is no row.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}: check the path of the pairs.")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    try:
        text = read_text(path, encoding)
        if suffix == ".jsonl":
            return _json_lines(text)
        names, rows = read_tsv(text) if suffix == ".tsv" else read_csv(text)
    except (BadText, BadRow) as error:
        raise UserError(f"{path} cannot be read as a table: {error}.") from error
    if not names:
        raise UserError(f"{path} is empty: it needs a line of column names and rows.")
    return _TextCells(names, rows)


@dataclass(frozen=True)
class _TextCells:
    # Everything is text: "NA" is a caption, and 007 keeps its zeros.
    names: Sequence[str]
    rows: Sequence[Row]
    skipped: Sequence[Skipped] = ()

    def column(self, name: str) -> list[Any]:
        index = self.names.index(name)
        return [row.fields[index] for row in self.rows]

    def place(self, row: int) -> str:
        return f"line {self.rows[row].line}"


@dataclass(frozen=True)
class _JsonCells:
    names: Sequence[str]
    rows: Sequence[tuple[int, dict[str, Any]]]
    skipped: Sequence[Skipped] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        return [row.get(name) for _, row in self.rows]

    def place(self, row: int) -> str:
        return f"line {self.rows[row][0]}"


@dataclass(frozen=True)
class _ParquetCells:
    path: Path
    names: Sequence[str]
    skipped: Sequence[Skipped] = ()

    def column(self, name: str) -> list[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # Not `read_table`, which takes a dot in a name for a path into a structure.
            cells = pq.ParquetFile(self.path).read(columns=[name]).column(name)
            if pa.types.is_dictionary(cells.type):
                cells = cells.cast(cells.type.value_type)
            try:
                return cells.to_pylist()
            except UnicodeDecodeError:
                # Written by something that does not check its text; the reader of a cell does.
                return cells.cast(pa.large_binary()).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error

    def place(self, row: int) -> str:
        return f"row {row + 1}"


def _parquet(path: Path) -> Cells:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _ParquetCells(path, pq.read_schema(path).names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _json_lines(text: str) -> Cells:
    rows: list[tuple[int, dict[str, Any]]] = []
    skipped: list[Skipped] = []
    names: dict[str, None] = {}
    # Not splitlines: JSON may hold line ends of Unicode's own.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = parse_json(line)
        except ValueError as error:
            skipped.append((f"line {number}", f"it is not JSON ({error})"))
            continue
        if not isinstance(content, dict):
            skipped.append((f"line {number}", "it is no JSON object with names and values"))
            continue
        names.update(dict.fromkeys(content))
        rows.append((number, content))
    return _JsonCells(list(names), rows, skipped)


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as a table: {one_line(error)}.")
