"""What a pair is, and what a source of pairs answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

ImageKey = str | int
"""Names one image within its source; two records with one key share one image."""


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One caption, and how to find the image that it belongs to."""

    image_key: ImageKey
    """What the source needs to open the image."""
    caption: str
    """The caption; empty where the source has none."""
    image_id: str
    """The image's name for people; captions of one image share it."""
    labels: Mapping[str, str] | None = None
    """Further columns of the source, by name."""


@runtime_checkable
class ImageOpener(Protocol):
    """Opens images by key. It is small and picklable: worker processes are given a copy."""

    def open_image(self, image_key: ImageKey) -> "Image":
        """Return the image in RGB; raise when it is missing, damaged or too large."""
        ...


@runtime_checkable
class PairSource(Protocol):
    """A list of pairs whose images are opened one at a time, by any process."""

    @property
    def spec(self) -> str:
        """The text that `load_pairs` opens the source by again."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of what the source holds: the same pairs have the same, wherever they lie."""
        ...

    @property
    def records(self) -> Sequence[PairRecord]:
        """The pairs, in a fixed order."""
        ...

    def open_image(self, image_key: ImageKey) -> "Image":
        """Return one image in RGB; raise when it is missing, damaged or too large."""
        ...


@dataclass(frozen=True)
class ListedPairs:
    """The source that every kind of spec becomes: a list of records and an opener."""

    spec: str
    """The text that `load_pairs` opens the source by again, with an absolute path."""
    fingerprint: str
    """Hash of what the source holds."""
    records: Sequence[PairRecord]
    """The pairs, in the source's own order."""
    opener: ImageOpener
    """Opens the images; travels to worker processes without the records."""
    image_column: str = "image"
    """The column that holds the images, for sources that have columns."""

    def __post_init__(self) -> None:
        if not len(self.records):
            raise UserError(f"{self.spec} holds no image–caption pairs.")

    def open_image(self, image_key: ImageKey) -> "Image":
        """Return one image in RGB; raise when it is missing, damaged or too large."""
        return self.opener.open_image(image_key)


def fingerprint_of(parts: Iterable[str | bytes]) -> str:
    """Return a hash over ``parts``, 32 hexadecimal digits, in which their borders count."""
    digest = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]
