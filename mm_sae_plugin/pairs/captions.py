"""Text of unknown origin: decoded without damage, or with the reason why it cannot be."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError

# The longer marks first: that of UTF-32 begins as that of UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class BadText(Exception):
    """Text that cannot be read; the message is the reason with its line and the remedy."""


@dataclass(frozen=True)
class Caption:
    """A caption, or why there is none."""

    text: str
    """Empty where the source has none."""
    fault: str | None = None
    """Why it cannot be used, where there is one that cannot."""


def check_encoding(encoding: str | None) -> None:
    """Refuse an encoding that is none.

    Raises
    ------
    UserError
        If Python knows no text encoding of that name.
    """
    if encoding is None:
        return
    try:
        "".encode(encoding)
    except (LookupError, UnicodeError) as error:
        raise UserError(
            f"There is no text encoding {encoding!r}: give one such as utf-8, cp1252 or utf-16-le."
        ) from error


def decode_text(data: bytes, encoding: str | None = None) -> str:
    """Decode the bytes of a text file, without its byte-order mark.

    Parameters
    ----------
    data
        All of the file.
    encoding
        Of files without a byte-order mark; UTF-8 by default.

    Raises
    ------
    BadText
        If the bytes are no text in that encoding; no byte is ever replaced.
    """
    mark, name = next(((m, n) for m, n in _MARKS if data.startswith(m)), (b"", encoding or "utf-8"))
    body = data[len(mark) :]
    try:
        text = body.decode(name)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        found = body[error.start : error.start + 1].hex()
        raise BadText(
            f"line {line} is not {name.upper()} (byte 0x{found}): save it as UTF-8, or name its "
            "encoding with --encoding, such as cp1252"
        ) from error
    # UTF-16 without its mark is valid UTF-8 as far as a decoder can tell.
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadText(
            f"line {line} has NUL characters: save it as UTF-8, or name its encoding with "
            "--encoding, such as utf-16-le"
        )
    return text


def read_text(path: Path, encoding: str | None = None) -> str:
    """Return the text of a file; see :func:`decode_text`.

    Raises
    ------
    BadText
        If it cannot be read or is no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadText(f"it cannot be read ({error.strerror})") from error
    return decode_text(data, encoding)


def captions_of(cell: Any, encoding: str | None = None) -> list[Caption]:
    """Return the captions in one cell of any source: a text, several in a list, or none.

    There is at least one: an empty one stands for a cell that is empty, None, NaN or ``pd.NA``.
    """
    if hasattr(cell, "tolist") and not isinstance(cell, str | bytes):
        cell = cell.tolist()
    if isinstance(cell, list | tuple):
        return [_caption(item, encoding) for item in cell] or [Caption("")]
    return [_caption(cell, encoding)]


def text_of(cell: Any) -> str:
    """Return the text of a cell that is an id, a path or a label; empty for a missing one.

    Bytes that are not UTF-8 become halves of surrogate pairs, which ``is_unicode`` tells.
    """
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    return "" if is_missing(cell) else str(cell)


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, NaT or ``pd.NA``."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and cell != cell


def is_unicode(text: str) -> bool:
    """Whether text can be written to a file: half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Return text that any file and terminal takes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _caption(cell: Any, encoding: str | None) -> Caption:
    if is_missing(cell):
        return Caption("")
    if isinstance(cell, bytes):
        try:
            cell = decode_text(cell, encoding)
        except BadText as error:
            return Caption("", f"its caption cannot be read: {error}")
    if isinstance(cell, dict | list | tuple | set):
        return Caption("", f"its caption is a {type(cell).__name__}, not text")
    text = str(cell)
    if not is_unicode(text):
        return Caption("", f"its caption is no valid Unicode: {printable(text[:80])!r}")
    return Caption(text)
