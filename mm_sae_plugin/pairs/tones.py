"""From any mode of Pillow to 8-bit RGB, with nothing lost that could be kept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION = 0x0112
_INTEGER_TOPS = (255, 65_535, 2**31 - 1)
_FLOAT_TOPS = (1, 255, 65_535)


def to_rgb(image: "Image", background: tuple[int, int, int]) -> tuple["Image", bool]:
    """Return an opened image upright in RGB, and whether any of it was transparent.

    Greys of more than 8 bits keep their range:

    - 16 bits (``I;16``, and 16-bit PGM and PNG): 0 to 65,535 becomes 0 to 255;
    - 32-bit integers: the top is the least of 255, 65,535 and 2³¹ − 1 that no value exceeds;
    - floating point: the same with 1, 255 and 65,535;
    - numbers below zero or above the last top have no usual range: the picture's least becomes 0
      and its greatest 255.

    Raises
    ------
    ValueError
        If a floating-point picture holds numbers that are not finite.
    """
    # Turning a picture makes Pillow forget its format.
    declares_sixteen = image.format in ("PPM", "PNG")
    image = _upright(image)
    if image.mode.startswith("I;16"):
        return _sixteen_bits(image, background)
    if image.mode in ("I", "F"):
        return _wide_grey(image, declares_sixteen), False
    # Palettes, and single transparent colours, are only understood on the way through RGBA.
    if image.has_transparency_data:
        return _on_background(image.convert("RGBA"), background)
    if image.mode == "RGB":
        image.load()
        return image.copy(), False
    return image.convert("RGB"), False


def _upright(image: "Image") -> "Image":
    from PIL import ImageOps

    image.load()
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:
        # The picture is whole; it is only not known which way is up.
        return image


def _on_background(rgba: "Image", background: tuple[int, int, int]) -> tuple["Image", bool]:
    from PIL import Image

    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB"), False
    ground = Image.new("RGBA", rgba.size, (*background, 255))
    return Image.alpha_composite(ground, rgba).convert("RGB"), True


def _sixteen_bits(image: "Image", background: tuple[int, int, int]) -> tuple["Image", bool]:
    from PIL import Image

    values = np.asarray(image).astype(np.uint32)
    grey = _grey(values, top=65_535).convert("RGB")
    clear = image.info.get("transparency")
    if not isinstance(clear, int) or not (values == clear).any():
        return grey, False
    opaque = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    grey.putalpha(opaque)
    return _on_background(grey, background)


def _wide_grey(image: "Image", declares_sixteen: bool) -> "Image":
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds numbers that are not finite")
    # Pillow opens 16-bit PGM files, whose greatest value they declare, in this mode.
    if image.mode == "I" and declares_sixteen:
        return _grey(values, top=65_535).convert("RGB")
    tops: Sequence[int] = _INTEGER_TOPS if image.mode == "I" else _FLOAT_TOPS
    least, greatest = float(values.min()), float(values.max())
    if least < 0 or greatest > tops[-1]:
        return _grey(values - least, top=(greatest - least) or 1).convert("RGB")
    return _grey(values, top=next(top for top in tops if greatest <= top)).convert("RGB")


def _grey(values: np.ndarray, top: float) -> "Image":
    from PIL import Image

    return Image.fromarray(np.clip(np.rint(values * (255 / top)), 0, 255).astype(np.uint8))
