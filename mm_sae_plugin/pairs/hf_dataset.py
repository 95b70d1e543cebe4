"""Pairs in a Hugging Face data set: ``hf:FOLDER``, ``hf:NAME``, each with ``:SPLIT``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.pairs.captions import captions_of, text_of
from mm_sae_plugin.pairs.images import BadImage, ImageReader
from mm_sae_plugin.pairs.kinds import SourceKind
from mm_sae_plugin.pairs.openers import PictureOpener
from mm_sae_plugin.pairs.records import (
    ImageKey,
    ListedPairs,
    PairList,
    ReadOptions,
    fingerprint_of,
)

PREFIX = "hf:"


@dataclass(frozen=True)
class DatasetOpener(PictureOpener):
    """Opens images of a ``datasets.Dataset``, whose rows lie on disk and not in memory."""

    dataset: Any
    """A data set with the image column alone, not decoded."""
    image_column: str
    """Its name."""
    folder: Path
    """Where relative paths start, should the column hold paths."""
    reader: ImageReader = field(default_factory=ImageReader)
    """How image files become pictures."""

    def locate(self, image_key: ImageKey) -> Path | bytes:
        """Return the bytes or the path in row ``image_key``."""
        value = self.dataset[int(image_key)][self.image_column]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if not value:
            raise BadImage("the row holds no image")
        return value if isinstance(value, bytes) else self.folder / str(value)


def load_hf(spec: str, options: ReadOptions) -> ListedPairs:
    """Open a data set; see :func:`mm_sae_plugin.load_pairs`.

    A caption column may hold a list of captions per row. Rows with the same id show one image,
    which is encoded once.
    """
    dataset, spec, folder = _open(spec)
    # Before the format is taken off, which counts as another data set.
    fingerprint = str(dataset._fingerprint)
    dataset = dataset.with_format(None)
    columns = options.columns.found_in(dataset.column_names, spec)
    assert columns.image is not None and columns.caption is not None
    opener = _opener(dataset, columns.image, folder, options.reader)

    captions = _cells(dataset, columns.caption)
    ids = [text_of(cell) for cell in _cells(dataset, columns.id)] if columns.id else None
    labels = {name: [text_of(cell) for cell in _cells(dataset, name)] for name in columns.labels}
    first_row: dict[str, int] = {}
    pairs = PairList()
    for row, cell in enumerate(captions):
        image_id = ids[row] if ids else str(row)
        if not image_id:
            pairs.lose(f"row {row}", f"the column {columns.id!r} is empty")
            continue
        key = first_row.setdefault(image_id, row)
        if key != row and not _shows(opener, row):
            pairs.lose(f"row {row}", f"it holds no image, and row {key} has its id")
            continue
        if key != row:
            _check_same_image(spec, opener, image_id, key, row)
        named = {name: values[row] for name, values in labels.items()} or None
        pairs.add(key, image_id, captions_of(cell, options.encoding), named)
    names = [columns.image, columns.caption, *([columns.id] if columns.id else []), *columns.labels]
    return ListedPairs(
        spec=spec,
        fingerprint=fingerprint_of(["hf", fingerprint, *names, columns.id or ""]),
        records=pairs.records,
        opener=opener,
        image_column=columns.image,
        skipped=pairs.skipped,
        reader=options.reader,
        lost=pairs.lost,
    )


def open_hf(spec: str, image_column: str, reader: ImageReader) -> DatasetOpener:
    """Return what opens the images of a data set, without reading its captions."""
    dataset, spec, folder = _open(spec)
    if image_column not in dataset.column_names:
        raise UserError(f"{spec} has no column {image_column!r} any more.")
    return _opener(dataset.with_format(None), image_column, folder, reader)


def _shows(opener: DatasetOpener, row: int) -> bool:
    try:
        opener.locate(row)
    except BadImage:
        return False
    return True


def _check_same_image(
    spec: str, opener: DatasetOpener, image_id: str, first: int, row: int
) -> None:
    """Refuse an id that names two images: the second would be taken for the first."""
    try:
        one, other = opener.locate(first), opener.locate(row)
    except BadImage:
        one, other = b"", b"other"
    if one != other:
        raise UserError(
            f"In {spec} the image id {image_id!r} names two images, those of rows {first} and "
            f"{row}: give every image its own id, or leave the id column out."
        )


def _opener(dataset: Any, image_column: str, folder: Path, reader: ImageReader) -> DatasetOpener:
    from datasets import Image

    images = dataset.select_columns([image_column])
    if isinstance(images.features[image_column], Image):
        # Decoding is left to the reader, which looks at the size first.
        images = images.cast_column(image_column, Image(decode=False))
    return DatasetOpener(images, image_column, folder, reader)


def _open(spec: str) -> tuple[Any, str, Path]:
    from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

    name, split = _split_off(spec.removeprefix(PREFIX))
    path = Path(name)
    full = str(path.absolute()) if path.exists() else name
    try:
        if path.suffix == ".parquet" and path.is_file():
            dataset = load_dataset("parquet", data_files=full, split="train")
        elif (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            dataset = load_from_disk(full)
        elif path.exists():
            dataset = load_dataset(full)
        else:
            dataset = load_dataset(name)
    except Exception as error:
        raise UserError(
            f"The data set {name!r} could not be opened: give a folder written by save_to_disk, "
            f"or a name on the hub that can be reached ({one_line(error)})."
        ) from error
    if isinstance(dataset, DatasetDict):
        dataset, split = _pick_split(name, dataset, split)
    elif split and path.exists():
        raise UserError(f"{name} has no splits: leave ':{split}' out.")
    assert isinstance(dataset, Dataset)
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    return dataset, PREFIX + full + (f":{split}" if split else ""), folder


def _pick_split(name: str, splits: Any, split: str) -> tuple[Any, str]:
    if not split and len(splits) == 1:
        split = next(iter(splits))
    if not split and "train" in splits:
        split = "train"
    if split not in splits:
        asked = f"no split {split!r}" if split else "several splits"
        raise UserError(
            f"The data set {name!r} has {asked}: write hf:{name}:SPLIT with one of "
            f"{', '.join(map(str, splits))}."
        )
    return splits[split], split


def _split_off(name: str) -> tuple[str, str]:
    if Path(name).exists() or ":" not in name:
        return name, ""
    # A drive letter is no name with a split.
    head, _, tail = name.rpartition(":")
    return (head, tail) if len(head) > 1 and "/" not in tail and "\\" not in tail else (name, "")


def _cells(dataset: Any, name: str) -> list[Any]:
    from datasets import ClassLabel

    feature = dataset.features[name]
    values = dataset.select_columns([name])[name][:]
    if isinstance(feature, ClassLabel):
        # Classes are numbers on disk; -1 stands for none.
        return ["" if v is None or v < 0 else str(feature.int2str(v)) for v in values]
    return values


def _answers(spec: str) -> bool:
    if spec.startswith(PREFIX):
        return True
    # A folder that `save_to_disk` wrote is known without the prefix.
    return any((Path(spec) / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _with_prefix(spec: str) -> str:
    return spec if spec.startswith(PREFIX) else PREFIX + spec


SOURCE = SourceKind(
    "hf:DATASET",
    answers=_answers,
    load=lambda spec, options: load_hf(_with_prefix(spec), options),
    open=lambda spec, column, reader: open_hf(_with_prefix(spec), column, reader),
)
