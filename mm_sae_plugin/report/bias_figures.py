"""The figures of the audit card: gaps, spreads and what is left of a gap, one row each.

Every figure is drawn twice, broad and narrow, so that letters need not shrink on a small screen.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mm_sae_plugin.report.excerpts import clipped
from mm_sae_plugin.report.svg import element, figure, scale, text, title

SIDE_COLOURS = ("#2a8c6e", "#b8860b")
"""Of targets stated for the first group and for the second; they name nobody's gender."""
_BROAD, _NARROW = 1024, 372
_ROW, _TOP, _BOTTOM, _RIGHT = 28, 30, 28, 56


@dataclass(frozen=True)
class GapRow:
    """The gap of one target."""

    name: str
    """The target."""
    gap: float
    """In logits."""
    low: float
    """Of its interval."""
    high: float
    """Of its interval."""
    no_bias: tuple[float, float]
    """Where it would lie if the group did not matter."""
    side: int | None
    """0 where it is stated for the first group, 1 for the second; None where nothing is stated."""


@dataclass(frozen=True)
class LeftRow:
    """What is left of a gap without something."""

    name: str
    """What is taken away, and where."""
    value: float
    """In logits."""
    random: tuple[float, ...]
    """The same without random latents."""
    colour: str | None
    """Of its bar; None for one that is neutral."""


def both_widths(draw: Callable[[float], Markup]) -> Markup:
    """A figure for a broad and for a narrow place; the style sheet shows the one that fits."""
    broad, narrow = draw(_BROAD), draw(_NARROW)
    return Markup(
        '<div class="drawing"><div class="broad">{}</div><div class="narrow">{}</div></div>'
    ).format(broad, narrow)


def gap_figure(rows: Sequence[GapRow], first: str, second: str, width: float) -> Markup:
    """Gaps with intervals, over the band that they would lie in without bias.

    Parameters
    ----------
    rows : sequence of GapRow
        One or more, from the top.
    first, second : str
        The groups that gaps above and below 0 favour.
    width : float
        Of the drawing.
    """
    ends = [end for row in rows for end in (row.low, row.high, *row.no_bias)]
    frame = _Frame(rows, ends, width)
    x, parts = frame.x, frame.grid()
    room = int((width - frame.left) / 2 / 8) - 3
    parts += [
        text(f"← {clipped(second, room)}", frame.left, 14),
        text(f"{clipped(first, room)} →", width, 14, text_anchor="end"),
    ]
    for i, row in enumerate(rows):
        y = frame.middle(i)
        band, (low, high) = row.no_bias, (x(row.low), x(row.high))
        colour = None if row.side is None else SIDE_COLOURS[row.side]
        told = f"{row.name}: {row.gap:+.2f}, 95% interval {row.low:+.2f} to {row.high:+.2f}"
        hint = title(_minus(told))
        parts += [
            element(
                "rect",
                x=x(band[0]),
                y=y - 9,
                width=x(band[1]) - x(band[0]),
                height=18,
                rx=3,
                class_="null",
            ),
            element("line", x1=low, x2=high, y1=y, y2=y, stroke=colour, class_="interval"),
            element("circle", hint, cx=x(row.gap), cy=y, r=5, fill=colour, class_="gap"),
        ]
        parts += frame.labels(i, row.name, f"{row.gap:+.2f}")
    return figure(width, frame.height, f"Gaps between {first} and {second} by target", *parts)


def spread_figure(spread: float, nuisances: dict[str, float], name: str, width: float) -> Markup:
    """How far gaps spread: those that are asked about, and those of flips that mean nothing."""
    rows = [
        (name, spread, True),
        *sorted(((n, v, False) for n, v in nuisances.items()), key=lambda row: -row[1]),
    ]
    frame = _Frame(rows, [value for _, value, _ in rows], width)
    parts = frame.grid()
    for i, (label, value, is_asked) in enumerate(rows):
        parts.append(
            frame.bar(i, value, f"{label}: {value:.2f}", None, "asked" if is_asked else "other")
        )
        parts += frame.labels(i, label, f"{value:.2f}", "strong" if is_asked else None)
    return figure(width, frame.height, "Spread of the gaps of each flip", *parts)


def left_figure(rows: Sequence[LeftRow], whole: float, width: float) -> Markup:
    """What is left of a gap, beside what random latents leave and the gap as it is (dashed)."""
    frame = _Frame(rows, [whole, *(v for row in rows for v in (row.value, *row.random))], width)
    x, parts = frame.x, frame.grid()
    for i, row in enumerate(rows):
        hint = f"{row.name}: {row.value:+.2f}"
        parts.append(frame.bar(i, row.value, hint, row.colour, None if row.colour else "other"))
    parts.append(
        element("line", x1=x(whole), x2=x(whole), y1=_TOP - 8, y2=frame.bottom, class_="border")
    )
    for i, row in enumerate(rows):
        y = frame.middle(i)
        if row.random:
            ends = x(min(row.random)), x(max(row.random))
            parts.append(element("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_="reach"))
        parts += [
            element("circle", cx=x(value), cy=y, r=2.6, class_="draw") for value in row.random
        ]
        parts += frame.labels(i, row.name, f"{row.value:+.2f}")
    parts.append(
        text(
            _minus(f"as it is {whole:+.2f}"),
            x(whole),
            14,
            text_anchor="end" if x(whole) > width / 2 else "start",
        )
    )
    return figure(width, frame.height, "What is left of the gap without each class", *parts)


class _Frame:
    """Rows of names on the left, numbers on the right, and a common axis between them."""

    def __init__(self, rows: Sequence[object], values: Sequence[float], width: float) -> None:
        self.left = 200 if width > _NARROW else 152
        self._width = width
        low, high = min(0.0, *values), max(0.0, *values)
        # A little air, so that no mark touches a name.
        air = 0.04 * ((high - low) or 1.0)
        low, high = low - air * (low < 0), high + air * (high > 0)
        self._ticks = _ticks(low, high, 7 if width > _NARROW else 4)
        self.x = scale(low, high, self.left, width - _RIGHT)
        self.bottom = _TOP + _ROW * len(rows)
        self.height = self.bottom + _BOTTOM

    def middle(self, i: int) -> float:
        return _TOP + _ROW * (i + 0.5)

    def grid(self) -> list[str]:
        parts = []
        for tick in self._ticks:
            at, kind = self.x(tick), "axis" if tick == 0 else "rule"
            parts.append(element("line", x1=at, x2=at, y1=_TOP - 6, y2=self.bottom, class_=kind))
            parts.append(text(_minus(f"{tick:g}"), at, self.bottom + 18, text_anchor="middle"))
        return parts

    def bar(self, i: int, value: float, hint: str, fill: str | None, kind: str | None) -> str:
        start, end = sorted((self.x(0), self.x(value)))
        return element(
            "rect",
            title(_minus(hint)),
            x=start,
            y=self.middle(i) - 8,
            width=max(end - start, 1.0),
            height=16,
            rx=2,
            fill=fill,
            class_=kind,
        )

    def labels(self, i: int, name: str, value: str, kind: str | None = None) -> list[str]:
        y = self.middle(i) + 4.5
        shown = clipped(name, int((self.left - 12) / (8.6 if kind else 7)))
        return [
            element("g", title(name), text(shown, 0, y, class_=kind or "name")),
            text(_minus(value), self._width, y, text_anchor="end", class_="strong"),
        ]


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers, 0 among them, of which there are at most so many."""
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0) - 1)
    factors = (1, 2, 5, 10, 20, 50, 100)
    wide = next(
        f * step for f in factors if math.floor(high / f / step) - math.ceil(low / f / step) < most
    )
    return [round(i * wide, 12) for i in range(math.ceil(low / wide), math.floor(high / wide) + 1)]


def _minus(number: str) -> str:
    return number.replace("-", "−")
