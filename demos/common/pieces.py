"""Pieces of HTML that demos share: a class with its colour, and a picture with a line below."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_WIDTH = 160
"""Pixels of a picture's longer side on the page."""


def dot(name: str) -> str:
    """A class with its colour."""
    return f'<span class="class-dot class-{escape(name)}"></span> {escape(name)}'


def picture(image: Image | None, alt: str, told: str, most: int = _WIDTH) -> str:
    """A picture with a line below it, inside the page itself, at most so many pixels wide."""
    if image is None:
        gone = "<div class='lt-soft'>gone</div>"
        return f"<figure>{gone}<figcaption>{escape(told)}</figcaption></figure>"
    shown = image.convert("RGB")
    shown.thumbnail((most, most))
    held = io.BytesIO()
    shown.save(held, "PNG")
    data = base64.b64encode(held.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )
