"""Names for what stands in front of a model: its image transform and its tokenizer.

Both are taken for what they do, on a picture and on captions that never change: whatever
library, class or closure they come from, two that do the same have one name.
"""

import hashlib
from typing import Any

import numpy as np
from PIL import Image

# Upper case, accents, another script, a number, an emoji, and more words than any context holds.
_PROBE_CAPTIONS = [
    "a photo of a red cup",
    "A CAFÉ, 1:30 pm — naïve?  Two  spaces",
    "一只猫 😀 кот",
    "word " * 200,
]


def transform_digest(preprocess: Any) -> str:
    """Return ``"sha256:"`` and 16 hexadecimal digits that identify an image transform.

    The hash is over the pixels that it makes of one picture, to three digits behind the point.
    """
    # Neither square nor of a usual size, with every colour and sharp edges.
    y, x = np.mgrid[0:150, 0:230]
    bands = np.stack([x % 256, (y * 3) % 256, ((x // 9 + y // 7) % 2) * 255], axis=-1)
    pixels = preprocess(Image.fromarray(bands.astype(np.uint8), "RGB"))
    rounded = np.round(np.asarray(pixels, dtype=np.float64), 3) + 0.0
    return _digest(repr(rounded.shape).encode() + rounded.tobytes())


def tokenizer_digest(tokenizer: Any) -> str:
    """Return ``"sha256:"`` and 16 hexadecimal digits that identify a tokenizer.

    The hash is over the token ids of a few captions.
    """
    tokens = tokenizer(list(_PROBE_CAPTIONS))
    return _digest(repr(tokens.tolist()).encode())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
