"""Pairs in a folder of images: with a table in it, or a ``.txt`` beside each image."""

from collections.abc import Sequence
from pathlib import Path

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS, IMAGE_SUFFIXES
from mm_sae_plugin.pairs.records import ListedPairs, PairRecord, fingerprint_of
from mm_sae_plugin.pairs.table import FileOpener, load_table

CAPTION_TABLES = ("captions.csv", "captions.tsv", "captions.parquet", "metadata.csv")
"""Names under which a table is looked for in a folder of images."""


def load_folder(
    folder: str | Path,
    image_column: str = "image",
    caption_column: str = "caption",
    id_column: str | None = None,
    label_columns: Sequence[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ListedPairs:
    """Open a folder of images; see :func:`mm_sae_plugin.load_pairs`.

    A table named as in ``CAPTION_TABLES`` lists the pairs. Without one, every image below the
    folder is taken, in order of path; the lines of ``NAME.txt`` beside ``NAME.png`` are its
    captions, and an image without that file has an empty one. The name of a subfolder becomes
    the label ``folder``.
    """
    folder = Path(folder).resolve()
    for name in CAPTION_TABLES:
        if (folder / name).is_file():
            columns = (image_column, caption_column, id_column, label_columns)
            return load_table(folder / name, *columns, max_pixels=max_pixels, spec=str(folder))

    images = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not images:
        raise UserError(
            f"{folder} holds neither images nor one of {', '.join(CAPTION_TABLES)}: "
            "give a folder of images, a table, or shards such as shards-{000..009}.tar."
        )
    records = []
    sizes = []
    for name in images:
        path = folder / name
        parent = Path(name).parent.as_posix()
        labels = None if parent == "." else {"folder": parent}
        sizes.append(str(path.stat().st_size))
        records += [PairRecord(name, text, name, labels) for text in _captions(path)]
    parts = [part for r in records for part in (str(r.image_key), r.caption)]
    return ListedPairs(
        spec=str(folder),
        fingerprint=fingerprint_of(["folder", *sizes, *parts]),
        records=records,
        opener=FileOpener(folder, max_pixels),
    )


def _captions(image: Path) -> list[str]:
    beside = image.with_suffix(".txt")
    if not beside.is_file():
        return [""]
    lines = beside.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()] or [""]
