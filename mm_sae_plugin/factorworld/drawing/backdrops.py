"""What lies behind and around a scene: sky, pattern, silhouettes, ground, weather and frame."""

import math
from functools import cache

import numpy as np
from PIL import Image

from mm_sae_plugin.factorworld.drawing.palette import GOLD, INK, LIGHT, PAPER, SKIES, WHITE
from mm_sae_plugin.factorworld.drawing.pen import Pen, mix

RGB = tuple[int, int, int]

_HORIZON = 0.64
_SLOPE = {"level": 0.0, "rising": -0.09, "falling": 0.09, "": 0.0}
_GROUNDS: dict[str, tuple[RGB, RGB]] = {
    "grass": ((112, 186, 88), (82, 156, 66)),
    "sand": ((240, 214, 150), (218, 184, 116)),
    "snow": ((240, 246, 252), (206, 222, 238)),
    "water": ((74, 150, 214), (160, 208, 240)),
    "bricks": ((192, 98, 78), (232, 178, 156)),
    "planks": ((176, 124, 80), (132, 88, 54)),
}
_SILHOUETTES: dict[str, RGB] = {
    "hills": (92, 164, 122),
    "city": (116, 122, 152),
    "forest": (44, 106, 76),
    "mountains": (126, 134, 166),
    "dunes": (228, 176, 104),
}
WEATHER_VARIANTS = 4
"""How many pictures of each weather there are."""


@cache
def sky(lighting: str, pattern: str, size: int) -> Image.Image:
    """Return a vertical gradient under a pattern, RGB."""
    top, bottom = SKIES[lighting]
    ramp = np.linspace(0, 1, size)[:, None]
    column = np.asarray(top) * (1 - ramp) + np.asarray(bottom) * ramp
    gradient = np.repeat(column.round().astype(np.uint8)[:, None], size, axis=1)
    image, overlay = Image.fromarray(gradient), _pattern(pattern, size)
    image.paste(overlay, (0, 0), overlay)
    return image


@cache
def land(backdrop: str, ground: str, tilt: str, lighting: str, size: int) -> Image.Image:
    """Return the silhouettes and the ground under one light, RGBA."""
    pen = Pen(size, size)
    tint, share = LIGHT[lighting]
    slope = _SLOPE[tilt]
    _silhouette(pen, backdrop, mix(_SILHOUETTES[backdrop], tint, share), slope)
    main, detail = (mix(colour, tint, share) for colour in _GROUNDS[ground])
    left, right = _HORIZON - slope, _HORIZON + slope
    pen.shape([(0, left), (1, right), (1, 1), (0, 1)], main)
    _ground_detail(pen, ground, detail, slope)
    return pen.finish()


def _silhouette(pen: Pen, backdrop: str, fill: RGB, slope: float) -> None:
    base = _HORIZON + 0.1
    if backdrop == "hills":
        for x, radius in ((0.12, 0.26), (0.55, 0.3), (0.95, 0.24)):
            pen.disc(x, base, radius, fill)
    elif backdrop == "city":
        for step, top in enumerate((0.34, 0.46, 0.28, 0.4, 0.5, 0.32, 0.44, 0.36)):
            pen.box(step / 8 + 0.01, top, step / 8 + 0.11, base, fill)
            for y in np.arange(top + 0.04, _HORIZON - 0.02, 0.07):
                pen.box(step / 8 + 0.04, y, step / 8 + 0.08, y + 0.03, mix(fill, GOLD, 0.6))
    elif backdrop == "forest":
        for step in range(9):
            x, top = step / 8, 0.36 + 0.07 * (step % 3)
            pen.shape([(x - 0.1, base), (x, top), (x + 0.1, base)], fill)
    elif backdrop == "mountains":
        for x, top, half in ((0.2, 0.28, 0.3), (0.8, 0.34, 0.3), (0.5, 0.2, 0.34)):
            pen.shape([(x - half, base), (x, top), (x + half, base)], fill)
            cap = 0.12 * half / (base - top)
            pen.shape([(x - cap, top + 0.12), (x, top), (x + cap, top + 0.12)], WHITE)
    else:
        for x, y, width in ((0.15, 0.5, 0.5), (0.75, 0.46, 0.6)):
            pen.oval(x - width / 2, y, x + width / 2, y + 0.4, fill)


def _ground_detail(pen: Pen, ground: str, fill: RGB, slope: float) -> None:
    def surface(x: float) -> float:
        return _HORIZON + slope * (2 * x - 1)

    rows = (0.06, 0.15, 0.24, 0.33)
    if ground == "grass":
        for row, depth in enumerate(rows):
            for step in range(9):
                x = step / 8 + 0.06 * (row % 2)
                y = surface(x) + depth
                pen.line([(x - 0.02, y - 0.05), (x, y), (x + 0.02, y - 0.05)], fill, 0.016)
    elif ground == "sand":
        for row, depth in enumerate(rows):
            for step in range(11):
                x = step / 10 + 0.05 * (row % 2)
                pen.disc(x, surface(x) + depth, 0.016, fill)
    elif ground == "snow":
        for row, depth in enumerate(rows[1:]):
            for step in range(3):
                x = step / 2.4 + 0.2 * (row % 2)
                pen.oval(x - 0.12, surface(x) + depth, x + 0.12, surface(x) + depth + 0.05, fill)
    elif ground == "water":
        for depth in rows:
            path = [
                (x, surface(x) + depth + 0.018 * math.sin(40 * x)) for x in np.linspace(0, 1, 60)
            ]
            pen.line(path, fill, 0.02)
    elif ground == "bricks":
        for row, depth in enumerate((0, 0.09, 0.18, 0.27)):
            pen.line([(0, surface(0) + depth), (1, surface(1) + depth)], fill, 0.018)
            for step in range(6):
                x = step / 5 + 0.1 * (row % 2)
                pen.line([(x, surface(x) + depth), (x, surface(x) + depth + 0.09)], fill, 0.018)
    else:
        for step in range(7):
            x = step / 6
            pen.line([(x, surface(x)), (1.6 * x - 0.3, 1)], fill, 0.024)


def _pattern(name: str, size: int) -> Image.Image:
    pen = Pen(size, size)
    fill = (255, 255, 255, 120)
    if name == "stripes":
        for step in range(6):
            pen.box(step / 6, 0, step / 6 + 0.07, _HORIZON, fill)
    elif name == "dots":
        for row in range(5):
            for step in range(7):
                pen.disc(step / 6 + 0.08 * (row % 2), 0.05 + row * 0.13, 0.035, fill)
    elif name == "checks":
        for row in range(5):
            for step in range(4):
                x, y = step / 4 + 0.125 * (row % 2), row * 0.13
                pen.box(x, y, x + 0.125, y + 0.13, fill)
    elif name in ("waves", "zigzag"):
        for row in range(4):
            y = 0.07 + row * 0.16
            xs = np.linspace(0, 1, 13 if name == "zigzag" else 80)
            height = [
                0.045 * (2 * (i % 2) - 1) if name == "zigzag" else 0.04 * math.sin(25 * x)
                for i, x in enumerate(xs)
            ]
            path = [(float(x), y + h) for x, h in zip(xs, height, strict=True)]
            pen.line(path, fill, 0.045)
    else:
        for radius in (0.12, 0.26, 0.4, 0.54):
            pen.ring(0.5, 0.3, radius, fill, 0.05)
    return pen.finish()


@cache
def weather(name: str, variant: int, size: int) -> Image.Image:
    """Return one of the pictures of a weather, RGBA."""
    rng = np.random.default_rng((variant, len(name)))
    pen = Pen(size, size)
    if name == "sunshine":
        x, y = 0.3 + 0.13 * variant, 0.26
        for step in range(12):
            angle = math.pi * step / 6
            tip = (x + 0.27 * math.cos(angle), y + 0.27 * math.sin(angle))
            pen.line([(x, y), tip], (255, 226, 110), 0.03)
        pen.disc(x, y, 0.15, (255, 214, 60))
    elif name == "rain":
        for x, y in rng.random((32, 2)):
            pen.line([(x, y * 0.95), (x - 0.035, y * 0.95 + 0.1)], (226, 240, 255, 230), 0.02)
    elif name == "snowfall":
        for x, y in rng.random((32, 2)):
            pen.disc(x, y, 0.022 + 0.01 * rng.random(), (255, 255, 255, 240))
    elif name == "clouds":
        for x, y in ((0.16, 0.2), (0.5, 0.13), (0.84, 0.22), (0.34, 0.36)):
            x += 0.08 * (rng.random() - 0.5)
            for dx, radius in ((-0.1, 0.07), (0, 0.1), (0.1, 0.075)):
                pen.disc(x + dx, y, radius, (250, 250, 252, 235))
    else:
        for x, y in rng.random((9, 2)):
            y = 0.08 + 0.7 * y
            pen.arc(x, y, 0.07, (200, 350), (255, 255, 255, 220), 0.025)
            pen.oval(x + 0.06, y - 0.05, x + 0.13, y - 0.01, (226, 122, 50))
    return pen.finish()


@cache
def frame(name: str, size: int) -> Image.Image:
    """Return the border of the card, RGBA, transparent inside."""
    pen = Pen(size, size)
    hues: dict[str, RGB] = {
        "golden": GOLD,
        "silver": (178, 184, 196),
        "lace": PAPER,
        "film": INK,
        "ribbon": (206, 60, 92),
        "rounded": (72, 130, 132),
    }
    hue, width = hues[name], 0.055
    if name == "rounded":
        pen.box(0, 0, 1, 1, hue)
        pen.box(width, width, 1 - width, 1 - width, (0, 0, 0, 0), radius=0.2)
        return pen.finish()
    for x0, y0, x1, y1 in ((0, 0, 1, width), (0, 1 - width, 1, 1), (0, 0, width, 1)):
        pen.box(x0, y0, x1, y1, hue)
    pen.box(1 - width, 0, 1, 1, hue)
    if name == "lace":
        for at in np.linspace(0.03, 0.97, 12):
            for x, y in ((at, width), (at, 1 - width), (width, at), (1 - width, at)):
                pen.disc(float(x), float(y), 0.035, hue)
    if name == "film":
        for at in np.linspace(0.06, 0.94, 9):
            for y in (0.012, 0.957):
                pen.box(float(at) - 0.025, y, float(at) + 0.025, y + 0.03, WHITE)
    if name == "ribbon":
        for at in np.linspace(0, 1, 11):
            pen.line([(float(at), 0), (float(at) + 0.04, width)], WHITE, 0.025)
            pen.line([(float(at), 1 - width), (float(at) + 0.04, 1)], WHITE, 0.025)
            pen.line([(0, float(at)), (width, float(at) + 0.04)], WHITE, 0.025)
            pen.line([(1 - width, float(at)), (1, float(at) + 0.04)], WHITE, 0.025)
    return pen.finish()
