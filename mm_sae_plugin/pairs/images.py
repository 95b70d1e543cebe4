"""Decoding one image of unknown origin into RGB, without trusting it."""

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_MAX_PIXELS = 64_000_000
"""Images with more pixels than this are refused before they are decoded."""

DEFAULT_BACKGROUND = "white"
"""What transparent pictures are laid on."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""File names that are taken for images, in lower case."""

BinaryFile = BytesIO | BufferedReader
"""An open binary file."""

_PILLOW_LIMIT = threading.Lock()
_END = 16 * 1024
_BLOCK = 1024 * 1024
# PNG, JPEG and WebP. Elsewhere, without compression or with further frames behind the first,
# pixels can change and leave both the size and the end of a file alone.
_TOLD_BY_THEIR_ENDS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
_NOT_REGULAR = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


class BadImage(Exception):
    """An image that cannot be used; the message is the reason, without the image's name."""


class TooManyPixels(BadImage):
    """An image over the limit, refused before it was decoded."""


@dataclass(frozen=True)
class Picture:
    """An image as the model is to see it, and what should be known of it."""

    image: "Image"
    """8-bit RGB, upright, on the background."""
    had_alpha: bool = False
    """Some of it was transparent, so that the background shows through."""
    one_colour: bool = False
    """All of its pixels have one colour: nothing can be seen on it."""
    digest: int = 0
    """Cheap hash of its file, see :func:`image_digest`; 0 where nobody asked for it."""


@dataclass(frozen=True)
class ImageReader:
    """How image files become pictures; small and picklable, for worker processes."""

    background: str = DEFAULT_BACKGROUND
    """Colour that transparent pictures are laid on: a name or a hex code that Pillow knows."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger images are refused before they are decoded, since a few kilobytes can unpack into
    gigabytes."""

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UserError(f"max_pixels must be at least 1, not {self.max_pixels}.")
        if self.background != DEFAULT_BACKGROUND:
            _ = self.rgb

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The background as red, green and blue.

        Raises
        ------
        UserError
            If it is no colour, or a transparent one.
        """
        from PIL import ImageColor

        try:
            colour = ImageColor.getrgb(self.background)
        except (ValueError, AttributeError, TypeError):
            colour = ()
        if len(colour) != 3:
            raise UserError(
                f"The background {self.background!r} is no opaque colour: give a name such as "
                "white, grey or black, or a hex code such as #f0f0f0."
            )
        return colour[0], colour[1], colour[2]

    @property
    def rules(self) -> str:
        """What decides which pictures there are and their pixels.

        It belongs to the identity of what is computed from them: under a higher limit, pictures
        that were skipped are read.
        """
        return f"rgb2, at most {self.max_pixels} pixels, on #{bytes(self.rgb).hex()}"

    def read(self, file: str | Path | bytes | BinaryFile) -> Picture:
        """Decode an image to 8-bit RGB, the first frame of an animation.

        Transparent pixels are laid on the background, and the orientation that a camera wrote is
        applied. How greys of more than 8 bits keep their range stands in
        :func:`mm_sae_plugin.pairs.tones.to_rgb`.

        Parameters
        ----------
        file
            A path, the bytes of a file, or an open binary file.

        Raises
        ------
        BadImage
            If the file is missing, not a regular file, not an image, damaged or too large.
        """
        from PIL import Image

        from mm_sae_plugin.pairs.tones import to_rgb

        if isinstance(file, bytes):
            file = BytesIO(file)
        if isinstance(file, str | Path):
            check_regular(file)
        try:
            # What Pillow warns of either makes a reason below or still gives a picture.
            with warnings.catch_warnings(), _pillow_lets_pass(self.max_pixels):
                warnings.simplefilter("ignore")
                with Image.open(file) as image:
                    width, height = image.size
                    if width * height > self.max_pixels:
                        raise TooManyPixels(_too_large(width, height, self.max_pixels))
                    rgb, had_alpha = to_rgb(image, self.rgb)
        except BadImage:
            raise
        except Image.DecompressionBombError as error:
            raise TooManyPixels(
                f"more pixels than the limit of {self.max_pixels:,} (--max-pixels)"
            ) from error
        except FileNotFoundError as error:
            raise BadImage("no such file") from error
        except Image.UnidentifiedImageError as error:
            raise BadImage("not an image, or of an unknown format") from error
        except Exception as error:
            # Pillow's plugins raise nearly anything on damaged files: SyntaxError, struct.error, …
            raise BadImage(f"cannot be decoded ({error or type(error).__name__})") from error
        return Picture(rgb, had_alpha, len(rgb.getcolors(1) or ()) == 1)


def decode_image(
    file: str | Path | bytes | BinaryFile,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    background: str = DEFAULT_BACKGROUND,
) -> "Image":
    """Decode an image to 8-bit RGB; see :meth:`ImageReader.read`.

    Raises
    ------
    BadImage
        If the file is missing, not a regular file, not an image, damaged or too large.
    UserError
        If the background is no colour.
    """
    return ImageReader(background, max_pixels).read(file).image


def check_regular(path: str | Path) -> None:
    """Refuse what is no regular file: to open a pipe is to wait for whoever writes into it.

    Raises
    ------
    BadImage
        If the path is missing or something else than a file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        reason = "a link to nothing" if os.path.islink(path) else "no such file"
        raise BadImage(reason) from error
    except (OSError, ValueError) as error:
        raise BadImage(f"cannot be opened ({error})") from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _NOT_REGULAR if is_kind(mode)), "something else")
        raise BadImage(f"{kind}, not a regular file")


def image_digest(file: Path | bytes) -> int:
    """Return a cheap 63-bit hash of an image file, by which a changed picture is noticed.

    Of PNG, JPEG and WebP it covers the size, the first and the last 16 KiB, which depend on all
    between them: a PNG ends in checksums, and in the others a change moves every later bit. Files
    of other formats are read whole. Neither name nor date counts: a copy is the same picture.

    Raises
    ------
    BadImage
        If the file cannot be read.
    """
    if isinstance(file, bytes):
        return _digest(BytesIO(file), len(file))
    check_regular(file)
    try:
        with open(file, "rb") as stream:
            return _digest(stream, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise BadImage(f"cannot be opened ({error.strerror})") from error


def _digest(stream: BinaryFile, size: int) -> int:
    start = stream.read(_END)
    if start.startswith(_TOLD_BY_THEIR_ENDS):
        stream.seek(max(size - _END, len(start)))
    parts = blake2b(size.to_bytes(8, "little") + start, digest_size=8)
    while block := stream.read(_BLOCK):
        parts.update(block)
    # One bit less, so that it fits a signed number; never 0, which stands for unknown.
    return int.from_bytes(parts.digest(), "little") >> 1 or 1


@contextmanager
def _raised_limit(max_pixels: int) -> Iterator[None]:
    from PIL import Image

    with _PILLOW_LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _pillow_lets_pass(max_pixels: int):
    """Raise Pillow's own limit, which is one number for the process, where the user's is higher."""
    from PIL import Image

    own = Image.MAX_IMAGE_PIXELS
    return nullcontext() if own is None or max_pixels <= own else _raised_limit(max_pixels)


def _too_large(width: int, height: int, max_pixels: int) -> str:
    megapixels = width * height / 1e6
    return (
        f"{width}×{height} pixels are {megapixels:.3g} megapixels, more than the limit of "
        f"{max_pixels / 1e6:g} (--max-pixels {max_pixels})"
    )
