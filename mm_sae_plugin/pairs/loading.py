"""The table of sources, and which of them a spec names."""

from collections.abc import Sequence
from pathlib import Path

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import folder, hf_dataset, table, webdataset, world
from mm_sae_plugin.pairs.captions import check_encoding
from mm_sae_plugin.pairs.columns import Columns
from mm_sae_plugin.pairs.images import DEFAULT_BACKGROUND, DEFAULT_MAX_PIXELS, ImageReader
from mm_sae_plugin.pairs.kinds import SourceKind
from mm_sae_plugin.pairs.records import ImageOpener, ListedPairs, ReadOptions

SOURCES: tuple[SourceKind, ...] = (
    world.SOURCE,
    table.SOURCE,
    webdataset.SOURCE,
    hf_dataset.SOURCE,
    folder.SOURCE,
)
"""Every kind of source; the first that answers to a spec opens it."""


def load_pairs(
    spec: str | Path,
    image_column: str | None = None,
    caption_column: str | None = None,
    id_column: str | None = None,
    label_columns: Sequence[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
    background: str = DEFAULT_BACKGROUND,
    encoding: str | None = None,
) -> ListedPairs:
    """List image–caption pairs; no image is opened yet.

    Every row, file and member of a tar file becomes a record or stands in ``skipped`` of what is
    returned, with its reason.

    Parameters
    ----------
    spec
        One of

        - ``factorworld:N`` or ``factorworld:N:SEED``;
        - a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file; relative image paths start at the
          file;
        - a folder of images, with ``captions.csv`` or ``metadata.jsonl`` in it (or another of
          :data:`mm_sae_plugin.pairs.folder.CAPTION_TABLES`), or a ``.txt`` beside each image;
        - WebDataset shards: ``shards-{000..003}.tar`` or ``shards-*.tar``;
        - ``hf:FOLDER`` (written by ``save_to_disk``) or ``hf:NAME``, each with ``:SPLIT``.
    image_column, caption_column
        Their names, where the source has columns. By default ``image`` or ``file_name``, and
        ``caption`` or ``text``; a name that is given is never replaced by a default. In shards
        they name an entry of the ``.json`` file or the end of a member's name (``.NAME``).
    id_column
        A column that names the image; by default its path. Captions of one image share its id.
    label_columns
        Further columns to keep beside every pair.
    max_pixels
        Images with more pixels are refused before they are decoded.
    background
        Colour that transparent pictures are laid on: a name or a hex code.
    encoding
        Of text files without a byte-order mark; UTF-8 by default.

    Raises
    ------
    UserError
        If the source is missing, empty, damaged or lacks a column, or an option is no colour or
        no encoding.
    """
    check_encoding(encoding)
    columns = Columns(image_column, caption_column, id_column, tuple(label_columns))
    options = ReadOptions(columns, ImageReader(background, max_pixels), encoding)
    return _kind_of(str(spec)).load(str(spec), options)


def open_images(
    spec: str | Path,
    image_column: str = "image",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    background: str = DEFAULT_BACKGROUND,
) -> ImageOpener:
    """Return what opens the images of a source, without listing its pairs.

    Parameters
    ----------
    spec, image_column, max_pixels, background
        As for :func:`load_pairs`.

    Raises
    ------
    UserError
        If the source is gone.
    """
    reader = ImageReader(background, max_pixels)
    return _kind_of(str(spec)).open(str(spec), image_column, reader)


def _kind_of(spec: str) -> SourceKind:
    for kind in SOURCES:
        if kind.answers(spec):
            return kind
    examples = [kind.example for kind in SOURCES]
    raise UserError(
        f"There is no source of pairs {spec!r}: give {', '.join(examples[:-1])} or {examples[-1]}."
    )
