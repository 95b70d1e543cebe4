"""Names for what stands in front of a model: its image transform and its tokenizer.

Both are taken for what they do, to a picture and to captions that never change: whatever library,
class or closure they come from, two that do the same have one name, in every process.
"""

import hashlib
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

# Short ones, since some contexts are: letters, cases, digits, signs, accents, other scripts.
_PROBE_CAPTIONS = (
    "a photo of a red cup",
    "two small green triangles",
    "A Large BLUE square, at night!",
    "the quick brown fox jumps",
    "over every lazy dog, maybe?",
    "3 cars (1:30 pm) & 24,680.57",
    "#hashtag  two   spaces_under-score",
    "naïve CAFÉ — “quoted” it's",
    "一只猫 😀 кот",
    "nurse doctor woman man engineer",
    "cheerful picture in the kitchen",
    "",
    # More words than any context holds.
    "word " * 300,
)
_GRID = 12
"""Pixels are compared at so many places along each side."""


def transform_digest(preprocess: Any) -> str:
    """Return ``"sha256:"`` and 16 hexadecimal digits that identify an image transform.

    Parameters
    ----------
    preprocess
        Turns one RGB picture into ``[3, height, width]``. The hash is over the shape and some of
        the pixels that it makes of one picture, to two digits behind the point, so that the last
        bits of another version or machine do not count.
    """
    pixels = np.asarray(preprocess(Image.fromarray(_probe_picture(), "RGB")), dtype=np.float64)
    height, width = pixels.shape[-2:]
    rows = np.linspace(0, height - 1, _GRID).astype(int)
    columns = np.linspace(0, width - 1, _GRID).astype(int)
    # Adding zero makes minus zero plain.
    seen = np.round(pixels[..., rows[:, None], columns], 2) + 0.0
    return _digest(repr(pixels.shape) + repr(seen.ravel().tolist()))


def tokenizer_digest(tokenizer: Any) -> str:
    """Return ``"sha256:"`` and 16 hexadecimal digits that identify a tokenizer.

    Parameters
    ----------
    tokenizer
        Turns captions into token ids ``[n, ctx]``. The hash is over those of a few captions, and
        over the words of a tokenizer that lists them as ``words``.
    """
    tokens = np.asarray(tokenizer(list(_PROBE_CAPTIONS)))
    words = getattr(tokenizer, "words", ())
    return _digest(repr(tokens.tolist()) + repr(list(words)))


def _probe_picture() -> UInt8[np.ndarray, "700 1100 3"]:
    """Draw waves of every length and sharp edges, neither square nor of a usual size."""
    y, x = np.mgrid[0:700, 0:1100]
    channels = [x * x // 600 + y, x + y * y // 300, ((x // 37 + y // 23) % 2) * 255]
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)


def _digest(content: str) -> str:
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()[:16]}"
