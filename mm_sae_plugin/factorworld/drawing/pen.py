"""Drawing small anti-aliased pictures: shapes in unit coordinates, drawn large, then reduced."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int] | tuple[int, int, int, int]

# Shapes are drawn this many times larger than they are shown, which smooths their edges.
_OVERSAMPLING = 6


class Pen:
    """A transparent canvas whose corners are (0, 0) and (width / height, 1).

    Parameters
    ----------
    width, height
        Size of the finished picture in pixels; one unit is its height.
    """

    def __init__(self, width: int, height: int):
        self.size = (width, height)
        self.unit = height * _OVERSAMPLING
        self.canvas = Image.new("RGBA", (width * _OVERSAMPLING, self.unit), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.canvas)

    def _at(self, *coordinates: float) -> list[float]:
        return [value * self.unit for value in coordinates]

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """Fill a circle around (x, y)."""
        self._draw.ellipse(self._at(x - radius, y - radius, x + radius, y + radius), fill)

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """Fill the ellipse inside a box."""
        self._draw.ellipse(self._at(x0, y0, x1, y1), fill)

    def half_disc(
        self, x: float, y: float, radius: float, fill: Colour, start: float = 180
    ) -> None:
        """Fill half a circle around (x, y), clockwise from ``start`` degrees (180: upper half)."""
        box = self._at(x - radius, y - radius, x + radius, y + radius)
        self._draw.pieslice((box[0], box[1], box[2], box[3]), start, start + 180, fill)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0
    ) -> None:
        """Fill a rectangle, its corners rounded by ``radius``."""
        self._draw.rounded_rectangle(self._at(x0, y0, x1, y1), radius * self.unit, fill)

    def shape(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * self.unit, y * self.unit) for x, y in points], fill)

    def line(self, points: Sequence[tuple[float, float]], fill: Colour, width: float) -> None:
        """Draw a polyline with rounded joints."""
        path = [(x * self.unit, y * self.unit) for x, y in points]
        self._draw.line(path, fill, max(1, round(width * self.unit)), joint="curve")

    def ring(self, x: float, y: float, radius: float, fill: Colour, width: float) -> None:
        """Draw a circle's outline."""
        box = self._at(x - radius, y - radius, x + radius, y + radius)
        stroke = max(1, round(width * self.unit))
        self._draw.ellipse((box[0], box[1], box[2], box[3]), outline=fill, width=stroke)

    def arc(
        self,
        x: float,
        y: float,
        radius: float,
        angles: tuple[float, float],
        fill: Colour,
        width: float,
    ) -> None:
        """Draw part of a circle's outline, clockwise between two angles in degrees."""
        box = self._at(x - radius, y - radius, x + radius, y + radius)
        stroke = max(1, round(width * self.unit))
        self._draw.arc((box[0], box[1], box[2], box[3]), *angles, fill=fill, width=stroke)

    def finish(self, outline: Colour | None = None) -> Image.Image:
        """Return the picture at its shown size, with a sticker-like ``outline`` if one is given."""
        canvas = self.canvas
        if outline is not None:
            # An outline of one shown pixel keeps any sprite legible on any ground.
            sticker = Image.new("RGBA", canvas.size, outline)
            sticker.putalpha(_grown(canvas.getchannel("A"), 2 * _OVERSAMPLING - 1))
            canvas = Image.alpha_composite(sticker, canvas)
        # Premultiplied alpha keeps the transparent black out of the edges.
        return canvas.convert("RGBa").resize(self.size, Image.Resampling.BOX).convert("RGBA")


def _grown(mask: Image.Image, width: int) -> Image.Image:
    """Give every pixel the largest value of the square of ``width`` pixels about it."""
    from scipy.ndimage import maximum_filter

    # Pillow's own filter takes twenty times as long.
    return Image.fromarray(maximum_filter(np.asarray(mask), width, mode="constant"))


def mix(first: Colour, second: Colour, share: float) -> tuple[int, int, int]:
    """Return ``first`` with a ``share`` (0 to 1) of ``second`` blended in."""
    r, g, b = (round(a + (b - a) * share) for a, b in zip(first[:3], second[:3], strict=True))
    return r, g, b
