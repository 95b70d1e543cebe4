"""The people of FactorWorld: a bust with hair, clothes and the hat of an occupation."""

from collections.abc import Callable
from functools import cache

from PIL import Image

from mm_sae_plugin.factorworld.drawing.palette import COLOURS, GOLD, INK, PAPER, SHADE, SKINS, WHITE
from mm_sae_plugin.factorworld.drawing.pen import Pen, mix

RGB = tuple[int, int, int]

PERSON_PIXELS = (32, 40)
"""Width and height of a person's sprite."""

_HAIR: dict[str, RGB] = {"young": (92, 56, 36), "old": (206, 208, 214)}
_STRAW: RGB = (236, 204, 120)
_MID = 0.4  # The middle of a sprite that is 0.8 units wide.


@cache
def person_sprite(gender: str, age: str, occupation: str, colour: str, skin: str) -> Image.Image:
    """Return a person's sprite: RGBA, ``PERSON_PIXELS`` in size, standing on its lower edge.

    An empty ``occupation`` is a person who wears nothing that tells one.
    """
    pen = Pen(*PERSON_PIXELS)
    _bust(pen, gender, age, COLOURS[colour], SKINS[skin])
    if occupation:
        _OUTFITS[occupation](pen)
    return pen.finish(outline=WHITE)


def _bust(pen: Pen, gender: str, age: str, clothes: RGB, skin: RGB) -> None:
    hair = _HAIR[age]
    if gender == "woman":
        # Long hair falls behind the shoulders.
        pen.box(_MID - 0.24, 0.2, _MID + 0.24, 0.72, hair, radius=0.18)
    pen.box(_MID - 0.07, 0.5, _MID + 0.07, 0.68, mix(skin, SHADE, 0.2))
    pen.box(0.08, 0.64, 0.72, 1.2, clothes, radius=0.16)
    pen.shape([(_MID - 0.1, 0.63), (_MID + 0.1, 0.63), (_MID, 0.75)], skin)
    pen.disc(_MID, 0.4, 0.185, skin)
    pen.half_disc(_MID, 0.36, 0.2, hair)
    for x in (_MID - 0.075, _MID + 0.075):
        pen.disc(x, 0.41, 0.026, INK)
    if gender == "woman":
        pen.arc(_MID, 0.45, 0.075, (20, 160), (206, 60, 80), 0.045)
        return
    # Men of this world wear beards: a mark that can be seen at this size.
    pen.half_disc(_MID, 0.42, 0.19, hair, start=0)
    pen.oval(_MID - 0.08, 0.44, _MID + 0.08, 0.52, skin)
    pen.arc(_MID, 0.45, 0.06, (20, 160), INK, 0.035)
    if age == "old":
        pen.line([(_MID - 0.13, 0.36), (_MID - 0.03, 0.36)], hair, 0.03)


def _doctor(pen: Pen) -> None:
    pen.shape([(0.08, 0.74), (0.28, 0.64), (0.32, 1.0), (0.08, 1.0)], WHITE)
    pen.shape([(0.72, 0.74), (0.52, 0.64), (0.48, 1.0), (0.72, 1.0)], WHITE)
    pen.line([(0.3, 0.66), (0.3, 0.84), (0.4, 0.9), (0.5, 0.84), (0.5, 0.66)], INK, 0.05)
    pen.disc(0.4, 0.9, 0.055, (150, 160, 175))
    pen.line([(0.2, 0.29), (0.6, 0.29)], INK, 0.05)
    pen.disc(_MID, 0.25, 0.1, (190, 206, 222))


def _nurse(pen: Pen) -> None:
    pen.shape([(0.2, 0.28), (0.24, 0.06), (0.56, 0.06), (0.6, 0.28)], WHITE)
    pen.box(_MID - 0.035, 0.09, _MID + 0.035, 0.25, (222, 44, 56))
    pen.box(_MID - 0.09, 0.14, _MID + 0.09, 0.2, (222, 44, 56))


def _chef(pen: Pen) -> None:
    for x, y in ((0.25, 0.14), (0.4, 0.1), (0.55, 0.14)):
        pen.disc(x, y, 0.12, WHITE)
    pen.box(0.22, 0.14, 0.58, 0.3, WHITE)
    pen.line([(0.22, 0.28), (0.58, 0.28)], (205, 210, 220), 0.04)
    pen.box(0.22, 0.8, 0.58, 1.0, WHITE)


def _farmer(pen: Pen) -> None:
    pen.oval(0.02, 0.2, 0.78, 0.36, _STRAW)
    pen.half_disc(_MID, 0.27, 0.2, _STRAW)
    pen.line([(0.21, 0.25), (0.59, 0.25)], (190, 84, 60), 0.06)


def _builder(pen: Pen) -> None:
    pen.half_disc(_MID, 0.3, 0.25, (255, 205, 30))
    pen.box(0.1, 0.27, 0.7, 0.34, (255, 205, 30), radius=0.03)
    pen.box(_MID - 0.05, 0.04, _MID + 0.05, 0.28, (228, 160, 0))
    pen.line([(0.22, 0.68), (0.22, 1.0)], (255, 240, 60), 0.09)
    pen.line([(0.58, 0.68), (0.58, 1.0)], (255, 240, 60), 0.09)


def _firefighter(pen: Pen) -> None:
    pen.half_disc(_MID, 0.3, 0.25, (200, 30, 36))
    pen.shape([(0.08, 0.36), (0.16, 0.26), (0.64, 0.26), (0.72, 0.36)], (160, 20, 30))
    pen.shape([(0.3, 0.14), (0.5, 0.14), (0.48, 0.28), (0.4, 0.33), (0.32, 0.28)], GOLD)
    pen.line([(0.08, 0.88), (0.72, 0.88)], (226, 226, 232), 0.08)


def _pilot(pen: Pen) -> None:
    pen.shape([(0.12, 0.16), (0.4, 0.05), (0.68, 0.16), (0.6, 0.28), (0.2, 0.28)], (32, 50, 96))
    pen.box(0.18, 0.25, 0.62, 0.32, INK, radius=0.03)
    pen.disc(_MID, 0.19, 0.055, GOLD)
    pen.line([(0.1, 0.78), (0.24, 0.78)], GOLD, 0.06)
    pen.line([(0.56, 0.78), (0.7, 0.78)], GOLD, 0.06)


def _artist(pen: Pen) -> None:
    pen.oval(0.12, 0.08, 0.66, 0.32, (104, 52, 120))
    pen.line([(0.4, 0.1), (0.42, 0.03)], (104, 52, 120), 0.04)
    pen.oval(0.42, 0.78, 0.78, 0.99, (196, 150, 100))
    for x, y, hue in ((0.52, 0.84, "red"), (0.63, 0.83, "blue"), (0.67, 0.91, "yellow")):
        pen.disc(x, y, 0.04, COLOURS[hue])
    pen.disc(0.55, 0.92, 0.035, PAPER)


_OUTFITS: dict[str, Callable[[Pen], None]] = {
    "doctor": _doctor,
    "nurse": _nurse,
    "chef": _chef,
    "farmer": _farmer,
    "builder": _builder,
    "firefighter": _firefighter,
    "pilot": _pilot,
    "artist": _artist,
}
