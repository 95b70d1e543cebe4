"""Pairs in a folder of images: with a table in it, or a ``.txt`` beside each image."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.captions import BadText, Caption, read_text
from mm_sae_plugin.pairs.images import IMAGE_SUFFIXES, BadImage, check_regular
from mm_sae_plugin.pairs.kinds import SourceKind
from mm_sae_plugin.pairs.openers import FileOpener
from mm_sae_plugin.pairs.records import (
    ListedPairs,
    PairList,
    ReadOptions,
    Skipped,
    fingerprint_of,
)
from mm_sae_plugin.pairs.table import load_table

CAPTION_TABLES = (
    "captions.csv",
    "captions.tsv",
    "captions.jsonl",
    "captions.parquet",
    "metadata.csv",
    "metadata.jsonl",
    "metadata.parquet",
)
"""Names under which a table is looked for in a folder of images; the second half are those of
Hugging Face's ImageFolder."""
_TABLE_FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


def load_folder(folder: str | Path, options: ReadOptions) -> ListedPairs:
    """Open a folder of images; see :func:`mm_sae_plugin.load_pairs`.

    A table named as in ``CAPTION_TABLES`` lists the pairs; images that it does not name are listed
    as skipped. Without one, every image below the folder is taken, in order of path; the lines of
    ``NAME.txt`` beside ``NAME.png`` are its captions, and an image without that file has an empty
    one. The name of a subfolder becomes the label ``folder``. Every other file that is not hidden
    is listed as skipped.
    """
    folder = Path(folder).resolve()
    tables = [name for name in CAPTION_TABLES if (folder / name).is_file()]
    if tables:
        others = [(name, f"{tables[0]} lists the pairs of this folder") for name in tables[1:]]
        source = load_table(folder / tables[0], options, str(folder), others)
        return replace(source, skipped=[*source.skipped, *_not_named(folder, tables[0], source)])

    remedy = f"put a table such as {CAPTION_TABLES[0]} into it, or leave the option out"
    options.columns.refuse_named(folder, remedy)
    pairs = PairList()
    beside: set[str] = set()
    others = []
    files = sorted(_files(folder, pairs))
    # Where both are there, ``.txt`` comes after ``.TXT`` and wins.
    texts = {_stem(name): name for name in files if name.lower().endswith(".txt")}
    for name in files:
        path = folder / name
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            others.append(name)
            continue
        try:
            check_regular(path)
        except BadImage as error:
            pairs.lose(name, str(error))
            continue
        parent = Path(name).parent.as_posix()
        labels = None if parent == "." else {"folder": parent}
        text = texts.get(_stem(name))
        captions = [Caption("")]
        if text is not None:
            beside.add(text)
            captions = _captions(folder / text, options.encoding)
        pairs.add(name, name, captions, labels)
    if not pairs.records and not pairs.skipped:
        raise UserError(
            f"{folder} holds neither images nor one of {', '.join(CAPTION_TABLES)}: "
            "give a folder of images, a table, or shards such as shards-{000..009}.tar."
        )
    # None of these is counted as a lost pair, also not a text without an image: it may be a read-me
    # or a licence, of which a small folder easily holds more than the share that may be lost.
    for name in others:
        if name not in beside and not Path(name).name.startswith("."):
            pairs.skip(name, _why_no_image(name))
    return ListedPairs(
        spec=str(folder),
        fingerprint=fingerprint_of(["folder", *pairs.parts]),
        records=pairs.records,
        opener=FileOpener(folder, options.reader),
        skipped=pairs.skipped,
        reader=options.reader,
        lost=pairs.lost,
    )


def _files(folder: Path, pairs: PairList) -> Iterator[str]:
    """Yield the paths of all that is no folder, and list the links that are not followed."""
    for parent, folders, names in os.walk(folder):
        where = Path(parent).relative_to(folder)
        yield from ((where / name).as_posix() for name in names)
        for name in folders:
            if (Path(parent) / name).is_symlink():
                reason = "a link to a folder, which is not followed: give that folder by itself"
                pairs.skip((where / name).as_posix(), reason)


def _not_named(folder: Path, table: str, source: ListedPairs) -> list[Skipped]:
    """List the images of a folder that no pair of its table shows."""
    named = {os.path.normpath(folder / str(record.image_key)) for record in source.records}
    # A link to a folder may hold what the table names: only what is looked at here is listed.
    unnamed = PairList()
    for name in sorted(_files(folder, PairList())):
        is_image = Path(name).suffix.lower() in IMAGE_SUFFIXES
        if is_image and os.path.normpath(folder / name) not in named:
            unnamed.skip(name, f"no pair of {table} shows it")
    return unnamed.skipped


def _stem(name: str) -> str:
    return Path(name).with_suffix("").as_posix()


def _captions(text: Path, encoding: str | None) -> list[Caption]:
    try:
        check_regular(text)
        lines = read_text(text, encoding).splitlines()
    except (BadImage, BadText) as error:
        return [Caption("", f"its caption {text.name} cannot be read: {error}")]
    return [Caption(line.strip()) for line in lines if line.strip()] or [Caption("")]


def _why_no_image(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if suffix == ".txt":
        return "there is no image beside it"
    if suffix in _TABLE_FORMATS:
        return "a table with a name or in a place that is not looked for: give it by its path"
    return "no image, by its name" if suffix else "no image: its name has no ending"


SOURCE = SourceKind(
    "a folder of images",
    answers=lambda spec: Path(spec).is_dir(),
    load=load_folder,
    open=lambda spec, column, reader: FileOpener(Path(spec).absolute(), reader),
)
