"""What a pair is, and what a source of pairs answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.captions import Caption, is_unicode, printable
from mm_sae_plugin.pairs.columns import Columns
from mm_sae_plugin.pairs.images import ImageReader

if TYPE_CHECKING:
    from PIL.Image import Image

ImageKey = str | int
"""Names one image within its source; two records with one key share one image."""

Skipped = tuple[str, str]
"""Name and reason of something in a source that is no pair."""


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One caption, and how to find the image that it belongs to."""

    image_key: ImageKey
    """What the source needs to open the image."""
    caption: str
    """The caption; empty where the source has none, or none that can be used."""
    image_id: str
    """The image's name for people; captions of one image share it."""
    labels: Mapping[str, str] | None = None
    """Further columns of the source, by name."""
    fault: str | None = None
    """Why the caption cannot be used, where there is one that cannot."""


@dataclass(frozen=True)
class ReadOptions:
    """How a source is to be read."""

    columns: Columns = field(default_factory=Columns)
    """Which columns the user named."""
    reader: ImageReader = field(default_factory=ImageReader)
    """How image files become pictures."""
    encoding: str | None = None
    """Encoding of text files without a byte-order mark; UTF-8 where it is None."""


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
    skipped: Sequence[Skipped] = ()
    """What the source holds and no record uses, each with its reason."""
    reader: ImageReader | None = None
    """How image files become pictures; None for a source that has no files."""
    lost: Sequence[Skipped] = ()
    """Those of `skipped` that were meant as pairs: a row without an image, a caption whose image
    is not there."""

    def __post_init__(self) -> None:
        if len(self.records):
            return
        first = next((f"; {name}: {reason}" for name, reason in self.skipped), "")
        raise UserError(f"{self.spec} holds no image–caption pairs{first}.")

    @property
    def reading(self) -> str | None:
        """Rules by which files become captions and pictures; None for a source without files.

        The same files under other rules may give other activations.
        """
        return self.reader and f"captions2, {self.reader.rules}"

    def open_image(self, image_key: ImageKey) -> "Image":
        """Return one image in RGB; raise when it is missing, damaged or too large."""
        return self.opener.open_image(image_key)


class PairList:
    """Gathers the records of a source, and what cannot become one.

    Nothing is added that a store could not write down at the end of an extraction.
    """

    def __init__(self) -> None:
        self.records: list[PairRecord] = []
        self.skipped: list[Skipped] = []
        self.lost: list[Skipped] = []

    def add(
        self,
        image_key: ImageKey,
        image_id: str,
        captions: Iterable[Caption],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Add one image with its captions."""
        names = (str(image_key), image_id, *(labels or {}).values())
        broken = next((name for name in names if not is_unicode(name)), None)
        if broken is not None:
            reason = f"its name, id or label is no valid Unicode: {printable(broken)!r}"
            self.lose(image_id, reason)
            return
        self.records += [
            PairRecord(image_key, caption.text, image_id, labels, caption.fault)
            for caption in captions
        ]

    def skip(self, name: str, reason: str) -> None:
        """List something that is no pair."""
        self.skipped.append((printable(name), printable(reason)))

    def lose(self, name: str, reason: str) -> None:
        """List something that was meant as a pair and cannot become one."""
        self.skip(name, reason)
        self.lost.append(self.skipped[-1])

    @property
    def parts(self) -> list[str]:
        """Keys and captions in order, for a fingerprint."""
        return [part for r in self.records for part in (str(r.image_key), r.caption)]


def fingerprint_of(parts: Iterable[str | bytes]) -> str:
    """Return a hash over ``parts``, 32 hexadecimal digits, in which their borders count."""
    digest = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]
