"""Decoding one image of unknown origin into RGB, without trusting it."""

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_MAX_PIXELS = 64_000_000
"""Images with more pixels than this are refused before they are decoded."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""File names that are taken for images, in lower case."""


class BadImage(Exception):
    """An image that cannot be used; the message is the reason, without the image's name."""


def decode_image(file: str | Path | IO[bytes], max_pixels: int = DEFAULT_MAX_PIXELS) -> "Image":
    """Decode an image to 8-bit RGB, the first frame of an animation.

    Parameters
    ----------
    file
        A path, or an open binary file.
    max_pixels
        The header is read first: a larger image is refused without decoding it, since a few
        kilobytes can unpack into gigabytes.

    Raises
    ------
    BadImage
        If the file is missing, not an image, damaged or too large.
    """
    from PIL import Image

    try:
        # What Pillow warns of either makes a reason below or still gives a picture.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise BadImage(_too_large(width, height, max_pixels))
                return _to_rgb(image)
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"more pixels than Pillow decodes ({error})") from error
    except FileNotFoundError as error:
        raise BadImage("no such file") from error
    except Image.UnidentifiedImageError as error:
        raise BadImage("not an image, or of an unknown format") from error
    except Exception as error:
        # Pillow's plugins raise nearly anything on damaged files: SyntaxError, struct.error, …
        raise BadImage(f"cannot be decoded ({error or type(error).__name__})") from error


def _to_rgb(image: "Image") -> "Image":
    # Sixteen-bit grey would be clipped to white by a plain conversion.
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    # A palette's transparency is only understood on the way through RGBA.
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    if image.mode == "RGB":
        image.load()
        return image.copy()
    return image.convert("RGB")


def _too_large(width: int, height: int, max_pixels: int) -> str:
    megapixels = width * height / 1e6
    return (
        f"{width}×{height} pixels are {megapixels:.0f} megapixels, "
        f"more than the limit of {max_pixels / 1e6:g}"
    )
