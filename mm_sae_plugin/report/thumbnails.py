"""Small copies of images, written into the page itself."""

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from mm_sae_plugin.stats.interfaces import PairedActivations

if TYPE_CHECKING:
    from PIL.Image import Image

# Twice the size at which they are shown, for dense screens.
_SIDE = 144


class Thumbnails:
    """`<img>` elements for rows of a store; each image is opened once.

    Parameters
    ----------
    store : PairedActivations, optional
        Without one, or where the image is gone, its name stands in a grey box.
    """

    def __init__(self, store: PairedActivations | None) -> None:
        self._store = store
        self._written: dict[int, str] = {}

    def html(self, row: int) -> str:
        """Markup of one image."""
        if row not in self._written:
            self._written[row] = self._write(row)
        return self._written[row]

    def _write(self, row: int) -> str:
        name = escape(str(self._store.image_ids[row]) if self._store else f"image {row}")
        image = self._open(row)
        if image is None:
            return f'<div class="gone">{name}</div>'
        return f'<img src="{data_uri(image)}" alt="{name}" title="{name}" loading="lazy">'

    def _open(self, row: int) -> "Image | None":
        if self._store is None:
            return None
        try:
            return self._store.open_image(row)
        except OSError:
            # Moved or unreadable since extraction: the report is still worth having.
            return None


def data_uri(image: "Image") -> str:
    """PNG of at most 144 pixels a side, as a `data:` address."""
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
