"""The twelve objects of FactorWorld, each drawn in one of eight colours."""

import math
from collections.abc import Callable
from functools import cache

from PIL import Image

from mm_sae_plugin.factorworld.drawing.palette import (
    COLOURS,
    GLASS,
    GOLD,
    INK,
    PAPER,
    SHADE,
    WHITE,
    WOOD,
)
from mm_sae_plugin.factorworld.drawing.pen import Pen, mix

RGB = tuple[int, int, int]

THING_PIXELS: dict[str, int] = {"small": 19, "big": 29}
"""Side of an object's square sprite for each value of ``size``."""


@cache
def thing_sprite(name: str, colour: str, size: str) -> Image.Image:
    """Return an object's sprite: RGBA, ``THING_PIXELS[size]`` pixels square."""
    pixels = THING_PIXELS[size]
    pen = Pen(pixels, pixels)
    main = COLOURS[colour]
    _PAINTERS[name](pen, main, mix(main, SHADE, 0.35), mix(main, WHITE, 0.55))
    return pen.finish(outline=WHITE)


def _ball(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.disc(0.5, 0.5, 0.4, main)
    pen.arc(0.5, 0.5, 0.25, (200, 340), light, 0.09)
    pen.line([(0.11, 0.55), (0.89, 0.55)], dark, 0.07)


def _cup(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.ring(0.72, 0.52, 0.2, main, 0.09)
    pen.shape([(0.12, 0.25), (0.7, 0.25), (0.63, 0.88), (0.19, 0.88)], main)
    pen.oval(0.12, 0.16, 0.7, 0.34, light)
    pen.oval(0.18, 0.19, 0.64, 0.31, dark)


def _house(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.box(0.18, 0.45, 0.82, 0.92, main)
    pen.shape([(0.06, 0.5), (0.5, 0.08), (0.94, 0.5)], dark)
    pen.box(0.42, 0.64, 0.6, 0.92, PAPER)
    pen.box(0.26, 0.55, 0.38, 0.67, GLASS)


def _tree(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.box(0.43, 0.6, 0.57, 0.94, WOOD)
    pen.shape([(0.5, 0.04), (0.8, 0.42), (0.2, 0.42)], main)
    pen.shape([(0.5, 0.22), (0.88, 0.72), (0.12, 0.72)], main)
    pen.line([(0.3, 0.43), (0.7, 0.43)], dark, 0.05)


def _fish(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.shape([(0.6, 0.5), (0.95, 0.22), (0.95, 0.78)], dark)
    pen.oval(0.06, 0.26, 0.76, 0.74, main)
    pen.disc(0.24, 0.44, 0.08, WHITE)
    pen.disc(0.23, 0.44, 0.045, INK)
    pen.arc(0.35, 0.5, 0.14, (-60, 60), light, 0.06)


def _star(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    points = []
    for step in range(10):
        radius = 0.46 if step % 2 == 0 else 0.2
        angle = math.pi * (step / 5 - 0.5)
        points.append((0.5 + radius * math.cos(angle), 0.52 + radius * math.sin(angle)))
    pen.shape(points, main)
    pen.disc(0.5, 0.52, 0.1, light)


def _car(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.shape([(0.24, 0.5), (0.34, 0.26), (0.66, 0.26), (0.78, 0.5)], dark)
    pen.shape([(0.33, 0.47), (0.39, 0.32), (0.48, 0.32), (0.48, 0.47)], GLASS)
    pen.shape([(0.53, 0.47), (0.53, 0.32), (0.62, 0.32), (0.69, 0.47)], GLASS)
    pen.box(0.05, 0.46, 0.95, 0.72, main, radius=0.08)
    for x in (0.27, 0.73):
        pen.disc(x, 0.73, 0.13, INK)
        pen.disc(x, 0.73, 0.055, PAPER)


def _boat(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.box(0.47, 0.08, 0.52, 0.66, WOOD)
    pen.shape([(0.55, 0.12), (0.9, 0.58), (0.55, 0.58)], PAPER)
    pen.shape([(0.44, 0.2), (0.44, 0.58), (0.14, 0.58)], light)
    pen.shape([(0.05, 0.65), (0.95, 0.65), (0.78, 0.9), (0.22, 0.9)], main)


def _mushroom(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.box(0.37, 0.45, 0.63, 0.92, PAPER, radius=0.1)
    pen.half_disc(0.5, 0.54, 0.43, main)
    for x, y, radius in ((0.32, 0.4, 0.07), (0.53, 0.26, 0.08), (0.7, 0.43, 0.06)):
        pen.disc(x, y, radius, WHITE)


def _flower(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.line([(0.5, 0.5), (0.5, 0.95)], COLOURS["green"], 0.08)
    pen.oval(0.52, 0.7, 0.8, 0.84, COLOURS["green"])
    for step in range(6):
        angle = math.pi * step / 3
        pen.disc(0.5 + 0.23 * math.cos(angle), 0.36 + 0.23 * math.sin(angle), 0.14, main)
    pen.disc(0.5, 0.36, 0.13, GOLD if main != COLOURS["yellow"] else WOOD)


def _kite(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.line([(0.5, 0.66), (0.6, 0.76), (0.45, 0.84), (0.56, 0.95)], INK, 0.05)
    pen.shape([(0.5, 0.04), (0.82, 0.34), (0.5, 0.7), (0.18, 0.34)], main)
    pen.shape([(0.5, 0.04), (0.82, 0.34), (0.5, 0.34)], light)
    pen.shape([(0.5, 0.34), (0.5, 0.7), (0.18, 0.34)], dark)


def _lamp(pen: Pen, main: RGB, dark: RGB, light: RGB) -> None:
    pen.box(0.46, 0.45, 0.54, 0.86, INK)
    pen.box(0.28, 0.84, 0.72, 0.93, INK, radius=0.04)
    pen.shape([(0.34, 0.08), (0.66, 0.08), (0.88, 0.54), (0.12, 0.54)], main)
    pen.shape([(0.18, 0.42), (0.82, 0.42), (0.88, 0.54), (0.12, 0.54)], light)


_PAINTERS: dict[str, Callable[[Pen, RGB, RGB, RGB], None]] = {
    "ball": _ball,
    "cup": _cup,
    "house": _house,
    "tree": _tree,
    "fish": _fish,
    "star": _star,
    "car": _car,
    "boat": _boat,
    "mushroom": _mushroom,
    "flower": _flower,
    "kite": _kite,
    "lamp": _lamp,
}
