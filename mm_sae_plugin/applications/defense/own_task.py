"""A task of one's own: a table of pictures' paths and classes, and words for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from mm_sae_plugin.applications.bias.groups import texts
from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.captions import check_encoding
from mm_sae_plugin.pairs.cells import read_cells
from mm_sae_plugin.pairs.columns import IMAGE_COLUMNS
from mm_sae_plugin.pairs.images import BadImage
from mm_sae_plugin.pairs.openers import FileOpener

if TYPE_CHECKING:
    from PIL import Image

LABEL_COLUMN = "label"
TEMPLATES = ("a photo of a {}", "a picture of a {}")
"""For classes without prompts of their own."""


@dataclass(frozen=True)
class PictureFiles(Sequence["Image.Image"]):
    """Pictures that are opened when they are looked at, so that a table may be long."""

    folder: Path
    """Where relative paths start."""
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def keys(self) -> tuple[str, ...]:
        """What says whether two pictures are one file, without telling where it lies."""
        files = (str((self.folder / path).resolve()) for path in self.paths)
        return tuple(hashlib.sha256(file.encode()).hexdigest()[:16] for file in files)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> PictureFiles: ...

    def __getitem__(self, index: int | slice) -> Image.Image | PictureFiles:
        """Open one picture, or return some of them.

        Raises
        ------
        UserError
            If it is gone, or no picture.
        """
        if isinstance(index, slice):
            return PictureFiles(self.folder, self.paths[index])
        try:
            return FileOpener(self.folder).open_image(self.paths[index])
        except BadImage as error:
            raise UserError(
                f"The picture {self.paths[index]!r:.120} cannot be read: {error}; mend it, or take "
                "its row out of the table."
            ) from error


def read_task(
    path: Path,
    label_column: str = LABEL_COLUMN,
    image_column: str | None = None,
    images_dir: Path | None = None,
    prompts: PromptSet | None = None,
    n: int | None = None,
    seed: int = 0,
    encoding: str | None = None,
    without: Collection[str] = (),
) -> Task:
    """Read a classification table; no picture is opened yet.

    Parameters
    ----------
    path : Path
        A `.csv`, `.tsv`, `.jsonl` or `.parquet` file.
    label_column, image_column : str
        Columns of the class and of the picture's path; the latter by default `image` or
        `file_name`.
    images_dir : Path, optional
        Where relative paths start; by default where the table lies.
    prompts : PromptSet, optional
        Templates, and words for each class as its targets; by default two plain templates with the
        classes' own names.
    n : int, optional
        Rows to take, drawn at random; by default all.
    seed : int
        Of the draw.
    encoding : str, optional
        Of a text file without a byte-order mark; by default UTF-8.
    without : collection of str
        Keys of pictures that are left out, such as those that a tower was trained on.

    Raises
    ------
    UserError
        If the table cannot be read or has no such columns, a row has no class or no picture, there
        is one class only, a class is not among the prompts, or no picture is left.
    """
    check_encoding(encoding)
    path = path.resolve()
    cells = read_cells(path, encoding)
    image = image_column or next((n for n in IMAGE_COLUMNS if n in cells.names), IMAGE_COLUMNS[0])
    for column, option in ((image, "--image-col"), (label_column, "--label-col")):
        if column not in cells.names:
            raise UserError(
                f"{path} has no column {column!r:.60}: name one of {', '.join(cells.names)} with "
                f"{option}."
            )
    if cells.skipped:
        place, reason = cells.skipped[0]
        raise UserError(
            f"{path}, {place}, is no row: {reason}; mend the line, or take the line out."
        )
    pictures, labels = (texts(cells.column(name)) for name in (image, label_column))
    for row, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        if not picture or not label:
            missing, column = ("label", labels) if picture else ("picture", pictures)
            n_rows = sum(not each for each in column)
            more = f" ({n_rows:,} rows have none)" if n_rows > 1 else ""
            raise UserError(
                f"{path}, {cells.place(row)}, has no {missing}{more}: give one, or take the row "
                "out."
            )
    if not pictures:
        raise UserError(f"{path} has no rows: give pictures with their labels.")
    classes = sorted(set(labels))
    if prompts is None:
        prompts = PromptSet(TEMPLATES, {name: (name.replace("_", " "),) for name in classes})
    folder = path.parent if images_dir is None else images_dir.resolve()
    keys = PictureFiles(folder, tuple(pictures)).keys if without else ()
    chosen = np.array([i for i in range(len(labels)) if not keys or keys[i] not in without], int)
    if not len(chosen):
        raise UserError(
            f"The towers were trained on every picture of {path}, so that none is left to judge "
            "them: give other pictures, or train on fewer of them with --n-images."
        )
    if n is not None and n < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, n, replace=False))
    return Task(
        path.stem,
        PictureFiles(folder, tuple(pictures[i] for i in chosen)),
        tuple(labels[i] for i in chosen),
        prompts.prompts,
    )
