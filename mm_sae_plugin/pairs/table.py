"""Pairs listed in a CSV, TSV or Parquet file with image paths and captions."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.truth import is_factor_label
from mm_sae_plugin.files import sha256_of_file
from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS, decode_image
from mm_sae_plugin.pairs.records import ImageKey, ListedPairs, PairRecord, fingerprint_of

if TYPE_CHECKING:
    from PIL.Image import Image

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class FileOpener:
    """Opens image files, relative to a folder."""

    folder: Path
    """Relative paths start here; absolute ones stay."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger images are refused before they are decoded."""

    def open_image(self, image_key: ImageKey) -> "Image":
        """Open the file at path ``image_key``."""
        return decode_image(self.folder / str(image_key), self.max_pixels)


def load_table(
    path: str | Path,
    image_column: str = "image",
    caption_column: str = "caption",
    id_column: str | None = None,
    label_columns: Sequence[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
    spec: str | None = None,
) -> ListedPairs:
    """Open a table; see :func:`mm_sae_plugin.load_pairs`.

    Columns whose names begin with ``drawn.`` or ``said.``, which FactorWorld writes, are labels
    without being asked for.
    """
    path = Path(path).resolve()
    frame = _read(path)
    needed = [image_column, caption_column, *([id_column] if id_column else []), *label_columns]
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]!r}: its columns are "
            f"{', '.join(map(repr, map(str, frame.columns[:8])))}"
            f"{', …' if len(frame.columns) > 8 else ''}; name the right one."
        )
    factors = [name for name in frame.columns if is_factor_label(str(name))]
    labelled = list(dict.fromkeys([*label_columns, *factors]))
    keys = [os.path.normpath(name) if name else "" for name in _texts(frame, image_column)]
    ids = _texts(frame, id_column) if id_column else keys
    check_ids(path, keys, ids)
    captions = _texts(frame, caption_column)
    labels = [_texts(frame, name) for name in labelled]
    rows = zip(*labels, strict=True) if labels else [()] * len(frame)
    records = [
        PairRecord(key, caption, image_id, dict(zip(labelled, row, strict=True)) or None)
        for key, caption, image_id, row in zip(keys, captions, ids, rows, strict=True)
    ]
    columns = [image_column, caption_column, id_column or "", *labelled]
    return ListedPairs(
        spec=spec or str(path),
        fingerprint=fingerprint_of([sha256_of_file(path), *columns]),
        records=records,
        opener=FileOpener(path.parent, max_pixels),
        image_column=image_column,
    )


def check_ids(where: str | Path, keys: Sequence[ImageKey], ids: Sequence[str]) -> None:
    """Refuse an id that names two images: every interval is clustered by it."""
    key_of: dict[str, ImageKey] = {}
    for key, image_id in zip(keys, ids, strict=True):
        if key_of.setdefault(image_id, key) != key:
            raise UserError(
                f"In {where} the image id {image_id!r} names two images, {key_of[image_id]!r} "
                f"and {key!r}: give every image its own id, or leave the id column out."
            )


def _read(path: Path) -> Any:
    import pandas as pd

    if not path.is_file():
        raise UserError(f"There is no file {path}: check the path of the pairs.")
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        # Everything is text: "NA" is a caption, and 007 keeps its zeros.
        return pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty: it needs a line of column names and rows.") from error
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be read as a table: {reason}") from error


def _texts(frame: Any, column: str) -> list[str]:
    values = frame[column]
    if len(values) and isinstance(values.iloc[0], dict | bytes):
        raise UserError(
            f"The column {column!r} holds images, not paths: give the file as hf:FILE.parquet."
        )
    return ["" if value is None or value != value else str(value) for value in values.tolist()]
