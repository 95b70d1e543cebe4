"""What is left of a gap without each class, beside random sets, as bars."""

from __future__ import annotations

from collections.abc import Sequence

from mm_sae_plugin.applications.bias.attributed import Attributed, ClassRow
from mm_sae_plugin.demos.bias.drawing import signed
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.svg import element, scale, text, title
from mm_sae_plugin.wording import n_latents

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _HEAD = 420, 64, 356, 30, 22, 26
_SUFFIX = " (paper)"


def class_of(row: ClassRow) -> str:
    """The class that a row removes."""
    return row.removed.name.removesuffix(_SUFFIX)


def rows_of(found: Attributed, by_paper: bool) -> list[ClassRow]:
    """Rows by the labels' own score, or by the paper's."""
    return [row for row in found.classes if row.removed.name.endswith(_SUFFIX) == by_paper]


def classes_figure(name: str, found: Attributed, rows: Sequence[ClassRow]) -> str:
    """Draw a bar for every class and side, a tick for every random set, and the whole."""
    values = [0.0, found.whole, found.reconstruction_only]
    for row in rows:
        values += [row.removed.value, *row.removed.random]
    x = scale(min(values), max(values), _LEFT, _RIGHT)
    y, parts, seen = _TOP, [], ""
    for row in rows:
        if class_of(row) != seen:
            seen = class_of(row)
            y += _HEAD
            head = f"{seen}: {n_latents(row.removed.n_latents)}"
            parts.append(text(head, _LEFT, y - 8, class_="strong"))
        parts += _bar(row, x, y)
        y += _ROW
    lines = [
        element("line", x1=x(0), x2=x(0), y1=_TOP, y2=y, class_="axis"),
        element("line", x1=x(found.whole), x2=x(found.whole), y1=_TOP, y2=y, class_="whole"),
        text("0", x(0), _TOP - 8, text_anchor="middle"),
    ]
    if abs(x(found.whole) - x(0)) > 60:
        lines.append(
            text(f"whole {signed(found.whole)}", x(found.whole), _TOP - 8, text_anchor="middle")
        )
    return element(
        "svg",
        *lines,
        *parts,
        viewBox=f"0 0 {_WIDTH} {y + 6}",
        role="img",
        aria_label=_told(name, found, rows),
        class_="bd-figure",
    )


def _bar(row: ClassRow, x, y: float) -> list[str]:
    removed = row.removed
    start, end = sorted((x(0), x(removed.value)))
    told = f"{removed.name} removed on {_where(removed.side)}: {signed(removed.value)} is left"
    ticks = [
        element("line", x1=x(value), x2=x(value), y1=y + 3, y2=y + 19, class_="random")
        for value in removed.random
    ]
    return [
        text(removed.side, _LEFT - 8, y + 15, text_anchor="end"),
        element(
            "rect",
            title(told),
            x=start,
            width=max(end - start, 1.5),
            y=y + 5,
            height=12,
            fill=COLOURS[class_of(row)],
        ),
        *ticks,
        text(
            signed(removed.value) + ("" if removed.is_matched else "*"),
            _WIDTH - 4,
            y + 15,
            text_anchor="end",
        ),
    ]


def _told(name: str, found: Attributed, rows: Sequence[ClassRow]) -> str:
    bars = "; ".join(
        f"without {row.removed.name} on {_where(row.removed.side)} {signed(row.removed.value)}, "
        f"random sets {signed(min(row.removed.random))} to {signed(max(row.removed.random))}"
        for row in rows
    )
    return f"What is left of the gap of {name}, {signed(found.whole)} as a whole: {bars}."


def _where(side: str) -> str:
    return "both sides" if side == "both" else f"the {side} side"
