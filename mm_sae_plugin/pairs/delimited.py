"""CSV and TSV files, of which no field may be lost or moved without a word."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

_SEPARATORS = {",": ("commas", ".csv"), "\t": ("tabs", ".tsv"), ";": ("semicolons", None)}
"""What files are separated by, in words, and the ending that says so."""
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


class BadRow(Exception):
    """A line that cannot be read as a row; the message names it and the remedy."""


@dataclass(frozen=True)
class Row:
    """One row of a delimited file."""

    line: int
    """The line that it begins on, from 1."""
    fields: list[str]
    """Its fields, as many as there are names."""


def read_csv(text: str, separator: str = ",") -> tuple[list[str], list[Row]]:
    """Return the names and the rows of a CSV file; quotes protect commas and line ends.

    Raises
    ------
    BadRow
        If a row has more or fewer fields than there are names, a quote stands where none can, or
        another separator is used.
    """
    _check_separator(text, separator)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    rows: list[Row] = []
    line = 1
    try:
        for fields in reader:
            if not names:
                names = fields
            elif fields:
                rows.append(Row(line, _fitting(fields, names, line)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadRow(
            f"line {line} cannot be read ({error}): write a quotation mark inside a quoted field "
            "twice, and close every field that begins with one"
        ) from error
    return names, rows


def read_tsv(text: str) -> tuple[list[str], list[Row]]:
    """Return the names and the rows of a TSV file.

    Most TSV files have no quoting at all: a row is a line, and a quotation mark is a part of its
    field. Files written by a CSV writer with tabs are known by their quotes: each closes, and
    protects something or stands around every field of its column.

    Raises
    ------
    BadRow
        If a row has more or fewer fields than there are names, or another separator is used.
    """
    _check_separator(text, "\t")
    lines = [line.removesuffix("\r").split("\t") for line in text.split("\n")]
    rows = [Row(n, fields) for n, fields in enumerate(lines, 1) if fields != [""]]
    if not rows:
        return [], []
    names = rows[0].fields
    if any(len(row.fields) != len(names) for row in rows):
        # Quotes may protect tabs and line ends; if they do not, the lines are at fault.
        try:
            return read_csv(text, "\t")
        except BadRow:
            rows = [Row(r.line, _fitting(r.fields, names, r.line)) for r in rows]
    if _are_quotes_syntax([row.fields for row in rows]):
        rows = [Row(r.line, [_unquoted(field) for field in r.fields]) for r in rows]
    return rows[0].fields, rows[1:]


def _check_separator(text: str, separator: str) -> None:
    first = next((line for line in text.splitlines() if line.strip()), "")
    if separator in first:
        return
    for other, (found, suffix) in _SEPARATORS.items():
        if other not in first:
            continue
        wanted, own = _SEPARATORS[separator]
        rename = f"name the file {suffix}, or " if suffix else ""
        raise BadRow(
            f"the columns of its first line, {first!r:.80}, are separated by {found} ({other!r}), "
            f"and those of a {own} file are by {wanted}: {rename}save it with {wanted}"
        )


def _fitting(fields: list[str], names: Sequence[str], line: int) -> list[str]:
    # A separator after the last field loses nothing.
    extra = fields[len(names) :]
    if len(fields) >= len(names) and not any(extra):
        return fields[: len(names)]
    more = len(fields) > len(names)
    raise BadRow(
        f"line {line} has {len(fields)} field{'s' * (len(fields) != 1)} where the first line has "
        f"{len(names)} name{'s' * (len(names) != 1)}: put a field that holds "
        + ("a separator" if more else "a line end")
        + ' into "quotation marks"'
    )


def _are_quotes_syntax(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the quotes at the beginning of fields belong to the file and not to the text."""
    quoted = [field for fields in rows for field in fields if field.startswith('"')]
    if not quoted or not all(_QUOTED.fullmatch(field) for field in quoted):
        return False
    return all(
        all(_protects(field) for field in column if field.startswith('"'))
        or all(field.startswith('"') for field in column)
        for column in zip(*rows[1:], strict=True)
    )


def _protects(field: str) -> bool:
    return '""' in field[1:-1]


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') else field
