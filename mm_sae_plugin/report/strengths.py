"""One prompt at several strengths of several edits, as a sheet of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mm_sae_plugin.report.palette import COLOURS

if TYPE_CHECKING:
    from PIL.Image import Image

Row = tuple[str, str, Sequence[tuple[float, "Image"]]]
"""A class, what is said of it below its name, and pictures with their strengths."""

_CELL, _GAP, _LABEL, _HEAD, _LINE = 128, 10, 140, 160, 30
_INK, _SOFT = "#1d2530", "#5c6775"


def strengths_sheet(prompt: str, seed: int, reference: Image, rows: Sequence[Row]) -> Image:
    """Draw the reference at the top, and a row of pictures for each class below it.

    Parameters
    ----------
    prompt : str
        What every picture is drawn of.
    seed : int
        Of their noise.
    reference : PIL image
    rows : sequence of (class, remark, pictures)
        As many pictures in every row, at the same strengths.
    """
    from PIL import Image, ImageDraw, ImageFont

    n_columns = len(rows[0][2])
    assert all(len(drawn) == n_columns for _, _, drawn in rows)
    width = _LABEL + n_columns * (_CELL + _GAP) + _GAP
    height = _HEAD + _LINE + len(rows) * (_CELL + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(15)
    sheet.paste(_cell(reference), (_LABEL, 2 * _GAP))
    beside = _LABEL + _CELL + 2 * _GAP
    pen.text((beside, 44), f"“{prompt}”", _INK, large)
    pen.text((beside, 76), "pulled towards the picture at the left", _SOFT, small)
    pen.text((beside, 98), f"by the latents of one class at a time, seed {seed}", _SOFT, small)
    for column, (strength, _) in enumerate(rows[0][2]):
        middle = _LABEL + column * (_CELL + _GAP) + _CELL // 2
        told = f"strength {strength:g}" if strength else "as it is"
        pen.text((middle, _HEAD + _LINE // 2), told, _SOFT, small, anchor="mm")
    for line, (name, remark, drawn) in enumerate(rows):
        top = _HEAD + _LINE + line * (_CELL + _GAP)
        pen.text((2 * _GAP, top + 40), name, COLOURS.get(name, _INK), large)
        pen.text((2 * _GAP, top + 68), remark, _SOFT, small)
        for column, (_, picture) in enumerate(drawn):
            sheet.paste(_cell(picture), (_LABEL + column * (_CELL + _GAP), top))
    return sheet


def _cell(picture: Image) -> Image:
    """A picture in a square of its own, with its proportions kept."""
    from PIL import Image, ImageOps

    # Small pictures keep their pixels: smoothed, they look out of focus.
    is_small = max(picture.size) <= _CELL // 2
    how = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
    shown = ImageOps.contain(picture.convert("RGB"), (_CELL, _CELL), how)
    cell = Image.new("RGB", (_CELL, _CELL), "white")
    cell.paste(shown, ((_CELL - shown.width) // 2, (_CELL - shown.height) // 2))
    return cell
