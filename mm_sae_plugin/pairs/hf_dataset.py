"""Pairs in a Hugging Face data set: ``hf:FOLDER``, ``hf:NAME``, each with ``:SPLIT``."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS, BadImage, decode_image
from mm_sae_plugin.pairs.records import ImageKey, ListedPairs, PairRecord, fingerprint_of

if TYPE_CHECKING:
    from PIL.Image import Image

PREFIX = "hf:"


@dataclass(frozen=True)
class DatasetOpener:
    """Opens images of a ``datasets.Dataset``, whose rows lie on disk and not in memory."""

    dataset: Any
    """A data set with the image column alone, not decoded."""
    image_column: str
    """Its name."""
    folder: Path
    """Where relative paths start, should the column hold paths."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger images are refused before they are decoded."""

    def open_image(self, image_key: ImageKey) -> "Image":
        """Open the image in row ``image_key``."""
        value = self.dataset[int(image_key)][self.image_column]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if not value:
            raise BadImage("the row holds no image")
        if isinstance(value, bytes):
            return decode_image(BytesIO(value), self.max_pixels)
        return decode_image(self.folder / str(value), self.max_pixels)


def load_hf(
    spec: str,
    image_column: str = "image",
    caption_column: str = "caption",
    id_column: str | None = None,
    label_columns: Sequence[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ListedPairs:
    """Open a data set; see :func:`mm_sae_plugin.load_pairs`.

    A caption column may hold a list of captions per row. Rows with the same id show the image of
    the first of them, so that it is encoded once.
    """
    dataset, spec, folder = _open(spec)
    fingerprint = str(dataset._fingerprint)
    needed = [image_column, caption_column, *([id_column] if id_column else []), *label_columns]
    _check_columns(spec, dataset, needed)
    opener = _opener(dataset, image_column, folder, max_pixels)

    texts = dataset.select_columns([name for name in dict.fromkeys(needed) if name != image_column])
    captions = texts[caption_column][:]
    ids = [str(i) for i in (texts[id_column][:] if id_column else range(len(dataset)))]
    labels = {name: _label_texts(dataset, texts, name) for name in label_columns}
    first_row: dict[str, int] = {}
    records = []
    for row, (image_id, caption) in enumerate(zip(ids, captions, strict=True)):
        key = first_row.setdefault(image_id, row)
        named = {name: values[row] for name, values in labels.items()} or None
        several = caption if isinstance(caption, list) else [caption]
        records += [PairRecord(key, str(text or ""), image_id, named) for text in several]
    return ListedPairs(
        spec=spec,
        fingerprint=fingerprint_of(["hf", fingerprint, *needed, id_column or ""]),
        records=records,
        opener=opener,
        image_column=image_column,
    )


def open_hf(
    spec: str, image_column: str = "image", max_pixels: int = DEFAULT_MAX_PIXELS
) -> DatasetOpener:
    """Return what opens the images of a data set, without reading its captions."""
    dataset, spec, folder = _open(spec)
    _check_columns(spec, dataset, [image_column])
    return _opener(dataset, image_column, folder, max_pixels)


def _opener(dataset: Any, image_column: str, folder: Path, max_pixels: int) -> DatasetOpener:
    from datasets import Image

    images = dataset.select_columns([image_column])
    if isinstance(images.features[image_column], Image):
        # Decoding is left to `decode_image`, which looks at the size first.
        images = images.cast_column(image_column, Image(decode=False))
    return DatasetOpener(images, image_column, folder, max_pixels)


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
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"The data set {name!r} could not be opened: give a folder written by save_to_disk, "
            f"or a name on the hub that can be reached ({lines[0]})."
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


def _check_columns(spec: str, dataset: Any, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in dataset.column_names]
    if missing:
        raise UserError(
            f"{spec} has no column {missing[0]!r}: its columns are "
            f"{', '.join(map(repr, dataset.column_names))}; name the right one."
        )


def _label_texts(dataset: Any, texts: Any, name: str) -> list[str]:
    from datasets import ClassLabel

    feature = dataset.features[name]
    values = texts[name][:]
    if isinstance(feature, ClassLabel):
        return ["" if v is None or v < 0 else str(feature.int2str(v)) for v in values]
    return ["" if value is None else str(value) for value in values]
