"""What opens pictures that lie in files, for worker processes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.pairs.images import ImageReader, Picture, image_digest
from mm_sae_plugin.pairs.records import ImageKey

if TYPE_CHECKING:
    from PIL.Image import Image


class PictureOpener(ABC):
    """Opens encoded pictures: a subclass says where the bytes of one lie."""

    reader: ImageReader

    @abstractmethod
    def locate(self, image_key: ImageKey) -> Path | bytes:
        """Return the path of the picture, or its bytes.

        Raises
        ------
        BadImage
            If it is not where the key says.
        """

    def open_picture(self, image_key: ImageKey) -> Picture:
        """Return the picture with what should be known of it, or raise ``BadImage``."""
        file = self.locate(image_key)
        return replace(self.reader.read(file), digest=image_digest(file))

    def open_image(self, image_key: ImageKey) -> "Image":
        """Return the picture in RGB, or raise ``BadImage``."""
        return self.reader.read(self.locate(image_key)).image

    def digest(self, image_key: ImageKey) -> int:
        """Return a cheap hash of the picture's file, or raise ``BadImage``."""
        return image_digest(self.locate(image_key))


@dataclass(frozen=True)
class FileOpener(PictureOpener):
    """Opens image files, relative to a folder."""

    folder: Path
    """Relative paths start here; absolute ones stay."""
    reader: ImageReader = field(default_factory=ImageReader)
    """How image files become pictures."""

    def locate(self, image_key: ImageKey) -> Path:
        """Return the path of the file."""
        return self.folder / str(image_key)
