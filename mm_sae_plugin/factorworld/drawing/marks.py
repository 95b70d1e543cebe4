"""Marks on the card: how a factor that belongs to the caption is drawn now and then."""

import math
from functools import cache

from PIL import Image

from mm_sae_plugin.factorworld.drawing.palette import INK, MARK_HUES, PAPER, WHITE
from mm_sae_plugin.factorworld.drawing.pen import Pen
from mm_sae_plugin.factorworld.factors import FACTORS

RGB = tuple[int, int, int]

MARK_PLACES: dict[str, tuple[int, int]] = {
    "opening": (4, 4),
    "reader": (24, 3),
    "tone": (45, 4),
    "weekday": (4, 45),
    "tag": (20, 50),
    "sender": (46, 44),
}
"""Left and upper edge, in pixels, of each factor's mark on the 64-pixel card."""


@cache
def mark(factor: str, value: str) -> Image.Image:
    """Return the mark of one value, RGBA, about 15 pixels wide."""
    index = FACTORS[factor].values.index(value)
    hue = MARK_HUES[index]
    if factor == "opening":
        return _badge(hue, index)
    if factor == "tone":
        return _balloon(hue, index)
    if factor == "weekday":
        return _calendar(hue, index)
    if factor == "tag":
        return _ribbon(hue, index)
    if factor == "sender":
        return _stamp(hue, index)
    return _tape(hue, index)


def _symbol(pen: Pen, index: int, x: float, y: float, radius: float, fill: RGB) -> None:
    """Draw the ``index``-th of six plain symbols."""
    if index == 0:
        pen.disc(x, y, radius * 0.9, fill)
    elif index == 1:
        side = radius * 0.8
        pen.box(x - side, y - side, x + side, y + side, fill)
    elif index == 2:
        pen.shape([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill)
    elif index == 3:
        thick = radius * 0.36
        pen.box(x - radius, y - thick, x + radius, y + thick, fill)
        pen.box(x - thick, y - radius, x + thick, y + radius, fill)
    elif index == 4:
        pen.ring(x, y, radius, fill, radius * 0.45)
    else:
        pen.shape([(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)], fill)


def _badge(hue: RGB, index: int) -> Image.Image:
    pen = Pen(15, 15)
    points = []
    for step in range(20):
        radius = 0.46 if step % 2 == 0 else 0.38
        angle = math.pi * step / 10
        points.append((0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)))
    pen.shape(points, hue)
    _symbol(pen, index, 0.5, 0.5, 0.2, WHITE)
    return pen.finish(outline=WHITE)


def _balloon(hue: RGB, index: int) -> Image.Image:
    pen = Pen(15, 15)
    pen.shape([(0.2, 0.6), (0.5, 0.6), (0.22, 0.94)], hue)
    pen.oval(0.06, 0.08, 0.94, 0.76, hue)
    _symbol(pen, index, 0.5, 0.42, 0.18, WHITE)
    return pen.finish(outline=WHITE)


def _calendar(hue: RGB, index: int) -> Image.Image:
    pen = Pen(14, 15)
    pen.box(0.06, 0.1, 0.87, 0.94, PAPER, radius=0.06)
    pen.box(0.06, 0.1, 0.87, 0.42, hue, radius=0.06)
    _symbol(pen, index, 0.465, 0.68, 0.18, hue)
    return pen.finish(outline=INK)


def _ribbon(hue: RGB, index: int) -> Image.Image:
    pen = Pen(25, 11)
    width = 25 / 11
    pen.shape([(0.1, 0.15), (width - 0.1, 0.15), (width - 0.4, 0.5), (width - 0.1, 0.85)], hue)
    pen.shape([(0.1, 0.15), (0.4, 0.5), (0.1, 0.85), (width - 0.1, 0.85)], hue)
    for x in (0.75, width - 0.75):
        _symbol(pen, index, x, 0.5, 0.22, WHITE)
    return pen.finish(outline=WHITE)


def _stamp(hue: RGB, index: int) -> Image.Image:
    pen = Pen(14, 16)
    pen.box(0.04, 0.06, 0.83, 0.94, PAPER)
    pen.box(0.13, 0.15, 0.74, 0.85, hue)
    _symbol(pen, index, 0.435, 0.5, 0.19, PAPER)
    return pen.finish(outline=INK)


def _tape(hue: RGB, index: int) -> Image.Image:
    pen = Pen(17, 10)
    width = 1.7
    pen.shape([(0.1, 0.2), (width - 0.05, 0.08), (width - 0.1, 0.8), (0.05, 0.92)], hue)
    for x in (0.35, 0.85, 1.35):
        _symbol(pen, index, x, 0.5, 0.2, PAPER)
    return pen.finish(outline=INK)
