"""Small copies of images, written into the page itself."""

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mm_sae_plugin.report.excerpts import clipped
from mm_sae_plugin.stats.interfaces import PairedActivations

if TYPE_CHECKING:
    from PIL.Image import Image

# Larger than they are shown, for dense screens.
_SIDE = 144
# Drawings are smaller without loss, photographs would make the page ten times as large.
_WORTH_LOSS = 12_000


@dataclass(frozen=True)
class Thumbnail:
    """One image of the store."""

    name: str
    """What the source calls it."""
    address: str | None
    """The small copy as a `data:` address; None where the image was not found."""
    alt: str
    """What it shows, in words: its first caption."""


class Thumbnails:
    """Small copies of the images of a store; each image is opened once.

    Parameters
    ----------
    store : PairedActivations, optional
        Without one, or where the image is gone, its name is shown.
    """

    def __init__(self, store: PairedActivations | None) -> None:
        self._store = store
        self._made: dict[int, Thumbnail] = {}

    def of(self, row: int) -> Thumbnail:
        """The copy of one image."""
        if row not in self._made:
            self._made[row] = self._make(row)
        return self._made[row]

    @property
    def n_made(self) -> int:
        """Distinct images asked for so far."""
        return len(self._made)

    @property
    def n_missing(self) -> int:
        """Those among them that were not found."""
        return sum(made.address is None for made in self._made.values())

    def _make(self, row: int) -> Thumbnail:
        if self._store is None:
            return Thumbnail(f"image {row}", None, "")
        name = str(self._store.image_ids[row])
        image = self._open(row)
        caption = clipped(self._store.captions[self._first_pair[row]], 120)
        return Thumbnail(name, None if image is None else data_uri(image), caption or name)

    @cached_property
    def _first_pair(self) -> dict[int, int]:
        assert self._store is not None
        first: dict[int, int] = {}
        for pair, row in enumerate(self._store.image_index.tolist()):
            first.setdefault(row, pair)
        return first

    def _open(self, row: int) -> "Image | None":
        assert self._store is not None
        try:
            return self._store.open_image(row)
        except OSError:
            # Moved or unreadable since extraction: the report is still worth having.
            return None


def data_uri(image: "Image") -> str:
    """PNG of at most 144 pixels a side, as a `data:` address; JPEG where that is far smaller."""
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    content, kind = _encoded(small, "PNG", optimize=True), "png"
    if len(content) > _WORTH_LOSS:
        content, kind = _encoded(small, "JPEG", quality=88), "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")


def _encoded(image: "Image", form: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **settings)
    return buffer.getvalue()
