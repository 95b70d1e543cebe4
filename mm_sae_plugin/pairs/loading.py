"""Which kind of source a spec names."""

from collections.abc import Sequence
from pathlib import Path

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import hf_dataset, world
from mm_sae_plugin.pairs.folder import load_folder
from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS
from mm_sae_plugin.pairs.records import ImageOpener, ListedPairs
from mm_sae_plugin.pairs.table import TABLE_SUFFIXES, FileOpener, load_table
from mm_sae_plugin.pairs.webdataset import load_shards, open_shards


def load_pairs(
    spec: str | Path,
    image_column: str = "image",
    caption_column: str = "caption",
    id_column: str | None = None,
    label_columns: Sequence[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ListedPairs:
    """List image–caption pairs; no image is opened yet.

    Parameters
    ----------
    spec
        One of

        - ``factorworld:N`` or ``factorworld:N:SEED``;
        - a ``.csv``, ``.tsv`` or ``.parquet`` file; relative image paths start at the file;
        - a folder of images, with ``captions.csv`` in it or a ``.txt`` beside each image;
        - WebDataset shards: ``shards-{000..003}.tar`` or ``shards-*.tar``;
        - ``hf:FOLDER`` (written by ``save_to_disk``) or ``hf:NAME``, each with ``:SPLIT``.
    image_column, caption_column
        Their names, where the source has columns.
    id_column
        A column that names the image; by default its path. Captions of one image share its id.
    label_columns
        Further columns to keep beside every pair.
    max_pixels
        Images with more pixels are refused before they are decoded.

    Raises
    ------
    UserError
        If the source is missing, empty, damaged or lacks a column.
    """
    spec = str(spec)
    columns = (image_column, caption_column, id_column, label_columns)
    if _is_world(spec):
        return world.load_world(spec)
    if spec.startswith(hf_dataset.PREFIX):
        return hf_dataset.load_hf(spec, *columns, max_pixels=max_pixels)
    if spec.lower().endswith(TABLE_SUFFIXES):
        return load_table(spec, *columns, max_pixels=max_pixels)
    if spec.lower().endswith(".tar"):
        return load_shards(spec, caption_column, label_columns, max_pixels)
    if _is_saved_dataset(Path(spec)):
        return hf_dataset.load_hf(hf_dataset.PREFIX + spec, *columns, max_pixels=max_pixels)
    if Path(spec).is_dir():
        return load_folder(spec, *columns, max_pixels=max_pixels)
    raise _unknown(spec)


def open_images(
    spec: str | Path, image_column: str = "image", max_pixels: int = DEFAULT_MAX_PIXELS
) -> ImageOpener:
    """Return what opens the images of a source, without listing its pairs.

    Parameters
    ----------
    spec, image_column, max_pixels
        As for :func:`load_pairs`.

    Raises
    ------
    UserError
        If the source is gone.
    """
    spec = str(spec)
    path = Path(spec).absolute()
    if _is_world(spec):
        return world.open_world(spec)
    if spec.startswith(hf_dataset.PREFIX):
        return hf_dataset.open_hf(spec, image_column, max_pixels)
    if spec.lower().endswith(TABLE_SUFFIXES) and path.parent.is_dir():
        return FileOpener(path.parent, max_pixels)
    if spec.lower().endswith(".tar"):
        return open_shards(spec, max_pixels)
    if path.is_dir():
        return FileOpener(path, max_pixels)
    raise _unknown(spec)


def _is_world(spec: str) -> bool:
    return spec == world.PREFIX or spec.startswith(world.PREFIX + ":")


def _is_saved_dataset(path: Path) -> bool:
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _unknown(spec: str) -> UserError:
    return UserError(
        f"There is no source of pairs {spec!r}: give factorworld:N, a .csv, .tsv or .parquet "
        "file, a folder of images, shards-{000..003}.tar, or hf:DATASET."
    )
