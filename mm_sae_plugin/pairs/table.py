"""Pairs listed in a CSV, TSV, JSON Lines or Parquet file with image paths and captions."""

import os
from collections.abc import Sequence
from pathlib import Path

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.truth import is_factor_label
from mm_sae_plugin.files import sha256_of_file
from mm_sae_plugin.pairs.captions import captions_of, text_of
from mm_sae_plugin.pairs.cells import TABLE_SUFFIXES, Cells, read_cells
from mm_sae_plugin.pairs.images import ImageReader
from mm_sae_plugin.pairs.kinds import SourceKind
from mm_sae_plugin.pairs.openers import FileOpener
from mm_sae_plugin.pairs.records import (
    ImageKey,
    ListedPairs,
    PairList,
    ReadOptions,
    Skipped,
    fingerprint_of,
)


def load_table(
    path: str | Path,
    options: ReadOptions,
    spec: str | None = None,
    skipped: Sequence[Skipped] = (),
) -> ListedPairs:
    """Open a table; see :func:`mm_sae_plugin.load_pairs`.

    Columns whose names begin with ``drawn.`` or ``said.``, which FactorWorld writes, are labels
    without being asked for. A cell with a list of captions gives as many pairs.

    Parameters
    ----------
    path
        The table; image paths start where it lies.
    options
        How it is read.
    spec
        What the source is opened by again, where that is not the table's own path.
    skipped
        What is left out beside the table.
    """
    path = Path(path).resolve()
    cells = read_cells(path, options.encoding)
    if not cells.names:
        raise UserError(f"{path} holds no rows with names: it needs some.")
    columns = options.columns.found_in(list(cells.names), path)
    assert columns.image is not None and columns.caption is not None
    factors = [name for name in cells.names if is_factor_label(str(name))]
    labelled = list(dict.fromkeys([*columns.labels, *factors]))

    paths = _paths(cells, columns.image)
    ids = [text_of(cell) for cell in cells.column(columns.id)] if columns.id else paths
    captions = cells.column(columns.caption)
    labels = {name: [text_of(cell) for cell in cells.column(name)] for name in labelled}
    pairs = PairList()
    pairs.skipped += skipped
    for where, why in cells.skipped:
        pairs.lose(f"{path.name}, {where}", why)
    for row, (key, image_id) in enumerate(zip(paths, ids, strict=True)):
        if not key or not image_id:
            missing = columns.id if key else columns.image
            pairs.lose(f"{path.name}, {cells.place(row)}", f"the column {missing!r} is empty")
            continue
        named = {name: values[row] for name, values in labels.items()} or None
        pairs.add(key, image_id, captions_of(captions[row], options.encoding), named)
    check_ids(
        path, [record.image_key for record in pairs.records], [r.image_id for r in pairs.records]
    )
    names = [columns.image, columns.caption, columns.id or "", *labelled]
    encoding = [options.encoding] if options.encoding else []
    return ListedPairs(
        spec=spec or str(path),
        fingerprint=fingerprint_of([sha256_of_file(path), *names, *encoding]),
        records=pairs.records,
        opener=FileOpener(path.parent, options.reader),
        image_column=columns.image,
        skipped=pairs.skipped,
        reader=options.reader,
        lost=pairs.lost,
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


def _paths(cells: Cells, column: str) -> list[str]:
    values = cells.column(column)
    if any(isinstance(value, dict | bytes) for value in values):
        raise UserError(
            f"The column {column!r} holds images, not paths: give the file as hf:FILE.parquet."
        )
    return [os.path.normpath(text) if (text := text_of(value)) else "" for value in values]


def _open(spec: str, image_column: str, reader: ImageReader) -> FileOpener:
    folder = Path(spec).absolute().parent
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: the images of {spec} are gone.")
    return FileOpener(folder, reader)


SOURCE = SourceKind(
    "a .csv, .tsv, .jsonl or .parquet file",
    answers=lambda spec: spec.lower().endswith(TABLE_SUFFIXES) and not spec.startswith("hf:"),
    load=load_table,
    open=_open,
)
