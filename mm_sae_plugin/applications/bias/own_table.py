"""The user's own table: who is in which picture, read and checked before any picture is opened.

The group column is named by the user, or the table is laid out as a published data set's. A
caption is not needed: what is asked of the pictures stands in the prompts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.applications.bias.groups import LEAST, Groups, texts
from mm_sae_plugin.applications.bias.layouts import read_layout
from mm_sae_plugin.applications.bias.prompts import PromptSet, default_prompts
from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.pairs.captions import check_encoding
from mm_sae_plugin.pairs.cells import TABLE_SUFFIXES, Cells, read_cells
from mm_sae_plugin.pairs.columns import IMAGE_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 12
_LIST = ".txt"
"""CelebA's own lists, with spaces between the columns."""
_ADDRESSES = ("http://", "https://")
_INSIDE = "\0"
"""Stands for a picture, or another structure, inside a table."""


@dataclass(frozen=True)
class AuditColumns:
    """Which column holds what. A name that is given is taken or missed, never replaced."""

    image: str | None = None
    """Paths of pictures; by default the layout's own, else `image` or `file_name`."""
    group: str | None = None
    """The groups that are compared; by default the gender of a layout that is known."""
    target: str | None = None
    """What a prompt may ask for, such as an occupation."""
    identity: str | None = None
    """Who the picture shows."""
    twin: str | None = None
    """Which counterfactual pair it belongs to."""

    @property
    def named(self) -> dict[str, str]:
        """What is held, to the name of the column that was given for it."""
        return {held: name for held, name in asdict(self).items() if name is not None}


@dataclass(frozen=True)
class OwnTable:
    """Who is in which picture."""

    path: Path
    """Of the table."""
    folder: Path
    """Where relative paths of pictures start."""
    layout: str | None
    """Whose layout it has, where no group column was named."""
    columns: dict[str, str]
    """What is held, to the column that holds it; a layout's own columns are not named."""
    images: tuple[str, ...]
    """Path of each picture, as in the table; each once."""
    groups: Groups
    """Who is in them."""
    left_out: dict[str, int]
    """Why rows were left out, to how many."""


def read_own_table(
    path: str | Path,
    columns: AuditColumns | None = None,
    groups: Sequence[str] = (),
    images_dir: str | Path | None = None,
    identities: str | Path | None = None,
    encoding: str | None = None,
    least: int = LEAST,
) -> OwnTable:
    """Read a table and check it; no picture is opened yet.

    Parameters
    ----------
    path : str or Path
        A `.csv`, `.tsv`, `.jsonl` or `.parquet` file, or CelebA's `list_attr_celeba.txt`.
    columns : AuditColumns, optional
        Which column holds what; those that are not named are a layout's.
    groups : sequence of str
        The groups to compare, where the table has others too, or rows of none; by default all.
    images_dir : str or Path, optional
        Where relative paths of pictures start; by default where the table lies.
    identities : str or Path, optional
        Picture and person, two columns without a heading, as CelebA's `identity_CelebA.txt`.
    encoding : str, optional
        Of a text file without a byte-order mark; by default UTF-8.
    least : int
        How many samples each group needs.

    Raises
    ------
    UserError
        If the table cannot be read, a column that was named is missing, no group column is named
        and the layout is not known, or the columns do not fit an audit (see :class:`Groups`).
    """
    check_encoding(encoding)
    path, columns = Path(path).resolve(), columns or AuditColumns()
    folder = path.parent if images_dir is None else Path(images_dir).resolve()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give the one that the pictures lie in.")
    try:
        rows = _Rows.of_file(path, columns, identities, encoding)
        rows.drop_others(groups)
        rows.drop_without_picture()
        rows.drop_repeated()
        checked = Groups(**rows.labels(), least=least)
    except UserError as error:
        told = str(error)
        raise error if path.name in told else UserError(f"In {path.name}: {told}") from error
    return OwnTable(
        path, folder, rows.layout, columns.named, tuple(rows.held["image"]), checked, rows.left_out
    )


def prompts_for(groups: Groups, given: PromptSet | None) -> PromptSet:
    """Return the prompts for what the images show: those given, else the targets' own names.

    Raises
    ------
    UserError
        If there are neither targets nor prompts, a target has no prompts, none has two images of
        every group, or a direction is stated for a group that no image is of, or for one alone.
    """
    if groups.target is None:
        if given is None:
            raise UserError(
                "There is no target column to take prompts from: name one, or give prompts."
            )
        prompts = given
    else:
        kept, _ = groups.comparable_targets()
        if not kept:
            raise UserError(
                "No target has two images of every group: give more images, or leave the target "
                "column out."
            )
        targets = sorted(set(groups.target))
        prompts = (given or default_prompts(targets)).of_targets(targets)
    strange = sorted(set(prompts.direction.values()) - set(groups.names))
    if strange:
        raise UserError(
            f"The prompts state a direction towards the group {strange[0]!r:.60}, which no image "
            f"is of: choose from {', '.join(groups.names)}."
        )
    stated = sorted(set(prompts.direction.values()))
    if len(stated) == 1:
        raise UserError(
            f"The prompts state a direction towards {stated[0]!r:.60} alone, which nothing can be "
            "compared with: state targets for another group too, or leave the direction out."
        )
    return prompts


@dataclass
class _Rows:
    """Columns of equal length, and why rows were taken out of them."""

    held: dict[str, list[str]]
    layout: str | None
    left_out: dict[str, int]

    @classmethod
    def of_file(
        cls,
        path: Path,
        columns: AuditColumns,
        identities: str | Path | None,
        encoding: str | None,
    ) -> _Rows:
        table, left_out = _table(path, encoding)
        if columns.group is None:
            rows = cls._of_layout(table, path, columns, identities)
            rows.left_out |= left_out
            return rows
        if identities is not None:
            raise UserError(
                "A file of identities goes with a published layout: name the identity column, or "
                "leave the group column out."
            )
        if columns.image is None:
            image = next((name for name in IMAGE_COLUMNS if name in table), IMAGE_COLUMNS[0])
            columns = replace(columns, image=image)
        _check_columns(table, path, columns)
        return cls(_read(table, columns), None, left_out)

    @classmethod
    def _of_layout(
        cls, table: pd.DataFrame, path: Path, columns: AuditColumns, identities: str | Path | None
    ) -> _Rows:
        _check_columns(table, path, columns)
        people = None if identities is None else _list(Path(identities), has_heading=False)
        found = read_layout(table, identities=people)
        held: dict[str, list[str]] = {"image": list(found.image), "group": list(found.group)}
        for name, column in (("target", found.target), ("identity", found.identity)):
            if column is not None:
                held[name] = list(column)
        own = _read(table.iloc[list(found.rows)], columns)
        return cls(held | own, found.layout, dict(found.left_out))

    def labels(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(column) for name, column in self.held.items() if name != "image"}

    def drop_others(self, groups: Sequence[str]) -> None:
        """Leave out rows of groups that are not asked about."""
        if not groups:
            return
        names = sorted({name for name in self.held["group"] if name})
        strange = [name for name in groups if name not in names]
        if strange:
            raise UserError(f"There is no group {strange[0]!r:.60}: choose from {_listed(names)}.")
        self._drop("its group is not given", [not name for name in self.held["group"]])
        self._drop("its group is not asked about", [g not in groups for g in self.held["group"]])

    def drop_without_picture(self) -> None:
        """Leave out rows whose picture is not said, or is only an address."""
        image = self.held["image"] = [
            text if not text or text.startswith(_ADDRESSES) else os.path.normpath(text)
            for text in self.held["image"]
        ]
        if _INSIDE in image:
            raise UserError(
                "The image column holds pictures, not paths: write them to files, and name a "
                "column of their paths."
            )
        addresses = [text.startswith(_ADDRESSES) for text in image]
        if image and all(addresses):
            raise UserError(
                "The pictures are addresses, and nothing is downloaded: fetch them, and name a "
                "column of their paths as the image column."
            )
        self._drop("its picture is an address, not a file", addresses)
        self._drop("it names no picture", [not text for text in self.held["image"]])

    def drop_repeated(self) -> None:
        """Take every picture once, however many captions it has."""
        names = [name for name in self.held if name != "image"]
        first: dict[str, tuple[str, ...]] = {}
        repeated = []
        for image, *labels in zip(self.held["image"], *map(self.held.get, names), strict=True):
            repeated.append(image in first)
            before = first.setdefault(image, tuple(labels))
            for name, one, other in zip(names, before, labels, strict=True):
                if one != other:
                    raise UserError(
                        f"The picture {image!r:.80} has the {name} {one!r:.40} in one row and "
                        f"{other!r:.40} in another: give it one, or leave it out."
                    )
        self._drop("its picture stands in a row before", repeated)

    def _drop(self, why: str, which: Sequence[bool]) -> None:
        n = sum(which)
        if n:
            self.left_out[why] = n
            self.held = {
                name: [value for value, out in zip(column, which, strict=True) if not out]
                for name, column in self.held.items()
            }


def _table(path: Path, encoding: str | None) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read a table as it is, text as text, and why lines of it are no rows."""
    import pandas as pd

    if path.suffix.lower() == _LIST:
        return _list(path, has_heading=True), {}
    if not path.name.lower().endswith(TABLE_SUFFIXES):
        raise UserError(
            f"{path} is no table: give a {', '.join(TABLE_SUFFIXES)} file, with a column of paths."
        )
    cells = read_cells(path, encoding)
    if not any(cells.names):
        raise UserError(f"{path} holds no row that can be read: check its first lines.")
    twice = [name for name in cells.names if name and list(cells.names).count(name) > 1]
    if twice:
        raise UserError(f"{path} has several columns {twice[0]!r:.60}: give them different names.")
    table = pd.DataFrame({name: _cells(cells, name) for name in cells.names})
    return table, {"its line is no row": len(cells.skipped)} if cells.skipped else {}


def _list(path: Path, has_heading: bool) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise UserError(f"There is no file {path}: check its path.")
    # In the list of attributes the number of pictures stands above the heading.
    header, above = (0, 1) if has_heading else (None, 0)
    try:
        return pd.read_csv(
            path, sep=r"\s+", header=header, skiprows=above, dtype=str, keep_default_na=False
        )
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as a table: {one_line(error)}.") from error


def _cells(cells: Cells, name: str) -> list:
    column = cells.column(name)
    return [_INSIDE if isinstance(cell, dict | bytes) else cell for cell in column]


def _check_columns(table: pd.DataFrame, path: Path, columns: AuditColumns) -> None:
    names = [str(name) for name in table.columns]
    for held, name in columns.named.items():
        if name not in names:
            raise UserError(
                f"{path} has no column {name!r:.60} for the {held}: its columns are "
                f"{_listed(names)}."
            )


def _read(table: pd.DataFrame, columns: AuditColumns) -> dict[str, list[str]]:
    return {held: list(texts(table[name].tolist())) for held, name in columns.named.items()}


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
