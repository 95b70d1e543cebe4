"""The order of an extraction: each distinct image once, its captions with it."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mm_sae_plugin.pairs import ImageKey, PairRecord, PairSource
from mm_sae_plugin.pairs.captions import printable

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ExtractionPlan:
    """Distinct images in order of first use, and their captions, image by image.

    Captions of one image stand together whatever the order of the source, so that one pass over
    the source fills shards that hold both sides of the same pairs.
    """

    image_keys: list[ImageKey] = field(default_factory=list)
    """Key of every distinct image."""
    image_ids: list[str] = field(default_factory=list)
    """Its name."""
    first_pair: list[int] = field(default_factory=list)
    """Where its captions begin; one entry more than there are images."""
    captions: list[str] = field(default_factory=list)
    """All captions, image by image."""
    labels: dict[str, list[str]] = field(default_factory=dict)
    """Labels by name, one value per caption."""
    faults: dict[int, str] = field(default_factory=dict)
    """Why the source could not give a caption, by position, where it says so."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of what the source holds and no record uses."""
    lost: list[tuple[str, str]] = field(default_factory=list)
    """Those of `skipped` that were meant as pairs; they count as pairs that cannot be used."""

    @property
    def n_pairs(self) -> int:
        """Captions, empty ones too."""
        return len(self.captions)

    @property
    def n_meant(self) -> int:
        """Captions, and what was meant as a pair and is none."""
        return len(self.captions) + len(self.lost)

    @property
    def n_images(self) -> int:
        """Distinct images."""
        return len(self.image_keys)

    def pairs_of(self, image: int) -> range:
        """Positions of an image's captions."""
        return range(self.first_pair[image], self.first_pair[image + 1])

    def owners_of(self, pairs: Sequence[int]) -> list[int]:
        """Return the image that each of some captions belongs to."""
        return [bisect_right(self.first_pair, pair) - 1 for pair in pairs]

    @classmethod
    def of(cls, source: PairSource, progress: bool = False) -> "ExtractionPlan":
        """Order the records of a source."""
        from tqdm import tqdm

        position: dict[ImageKey, int] = {}
        ids: list[str] = []
        owners: list[int] = []
        captions: list[str] = []
        reasons: dict[int, str] = {}
        labels = _LabelColumns()
        bar = tqdm(source.records, desc="list", unit="pair", delay=1, disable=not progress)
        for record in bar:
            image = position.setdefault(record.image_key, len(position))
            if image == len(ids):
                ids.append(printable(record.image_id))
            caption, fault = _writable(record)
            if fault:
                reasons[len(captions)] = fault
            captions.append(caption)
            owners.append(image)
            labels.append(record.labels or {})
        order = sorted(range(len(owners)), key=owners.__getitem__)
        first_pair = [0] * (len(ids) + 1)
        for image in owners:
            first_pair[image + 1] += 1
        for image in range(len(ids)):
            first_pair[image + 1] += first_pair[image]
        return cls(
            image_keys=list(position),
            image_ids=ids,
            first_pair=first_pair,
            captions=[captions[i] for i in order],
            labels={name: [vs[i] for i in order] for name, vs in labels.columns.items()},
            faults={new: reasons[old] for new, old in enumerate(order) if old in reasons},
            # A source of one's own need not list anything.
            skipped=_printable(getattr(source, "skipped", ())),
            lost=_printable(getattr(source, "lost", ())),
        )

    def image_table(self, images: Sequence[int]) -> "pa.Table":
        """Return ids and keys of some images, as they are kept in a store."""
        import pyarrow as pa

        keys = [self.image_keys[i] for i in images]
        # One column has one type; a source that mixes numbers and names gets names.
        if not all(isinstance(key, int) for key in keys):
            keys = [printable(str(key)) for key in keys]
        return pa.table({"image_id": [self.image_ids[i] for i in images], "image_key": keys})

    def pair_table(self, pairs: Sequence[int], image_rows: Sequence[int]) -> "pa.Table":
        """Return captions, image rows and labels of some pairs, as they are kept in a store."""
        import pyarrow as pa

        columns: dict[str, pa.Array] = {
            "image_row": pa.array(image_rows, pa.int64()),
            "caption": pa.array([self.captions[i] for i in pairs], pa.string()),
        }
        for name, values in self.labels.items():
            picked = pa.array([printable(values[i]) for i in pairs], pa.string())
            columns[printable(f"label.{name}")] = picked.dictionary_encode()
        return pa.table(columns)


def _printable(skipped: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(printable(name), printable(why)) for name, why in skipped]


def _writable(record: PairRecord) -> tuple[str, str | None]:
    """Return a caption that can be written to a file, and why it is another than the record's."""
    # The sources of the package look for themselves; one of a script's own may not.
    if printable(record.caption) == record.caption:
        return record.caption, record.fault
    return "", f"the caption is no valid Unicode: {printable(record.caption)!r}"


class _LabelColumns:
    """Turns one mapping of labels per record into one list per label."""

    def __init__(self) -> None:
        self.columns: dict[str, list[str]] = {}
        self._names: list[str] = []
        self._n_records = 0

    def append(self, labels: Mapping[str, str]) -> None:
        # Nearly every source names the same labels in the same order for every record.
        if list(labels) == self._names:
            for values, value in zip(self.columns.values(), labels.values(), strict=True):
                values.append(value)
        else:
            for name in labels:
                # A label that first appears here was empty for all earlier records.
                self.columns.setdefault(name, [""] * self._n_records)
            for name, values in self.columns.items():
                values.append(labels.get(name, ""))
            self._names = list(self.columns)
        self._n_records += 1
