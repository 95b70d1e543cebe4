"""How face and occupation data sets lay out their tables: one reader each.

What a table does not say of a row is not guessed: the row is marked with why it is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mm_sae_plugin.applications.bias.groups import texts
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_PICTURES = ("image", "image_id", "file", "filename", "file_name", "path")
"""Columns that may hold the names of UTKFace's files, which say everything."""
# What follows the date is not looked at: a few files lack the point or have a space before it.
_UTKFACE_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d{8,}")
_UTKFACE_RACES = ("White", "Black", "Asian", "Indian", "Others")
_VISOGENDER_GENDERS = ("Occupation_perceived_gender", "Occupation_Gender")
_URL = "URL type (Type NA if can't find)"
_FACET_WORDS = {"gender": ("fem", "masc"), "age": ("young", "middle", "older")}


@dataclass
class Rows:
    """A table's rows, one text each; empty where it says nothing."""

    image: list[str]
    """File name or address."""
    group: list[str]
    """In the data set's words."""
    target: list[str] | None = None
    """Occupation or class."""
    identity: list[str] | None = None
    """Who the image shows."""
    why: dict[int, str] = field(default_factory=dict)
    """Row to why it is left out."""


@dataclass(frozen=True)
class Layout:
    """How one data set lays out its table."""

    name: str
    """Of the data set."""
    attributes: dict[str, dict[str, str]]
    """What groups may be of, to the data set's words and what they are called here; empty where
    the words are kept."""
    fits: Callable[[pd.DataFrame], bool]
    """Whether a table is laid out so."""
    read: Callable[[pd.DataFrame, str], Rows]
    """Its rows, grouped by an attribute."""


def _fairface(table: pd.DataFrame, attribute: str) -> Rows:
    return Rows(_column(table, "file"), _column(table, attribute))


def _celeba(table: pd.DataFrame, attribute: str) -> Rows:
    # In the text file the images have no heading, and so are the index.
    image = _column(table, "image_id") if "image_id" in table else [str(i) for i in table.index]
    name = {"gender": "Male", "age": "Young"}[attribute]
    # Some readers turn -1 into 0.
    words = {"1": f"{name} 1", "-1": f"{name} -1", "0": f"{name} -1"}
    return Rows(image, [words.get(flag, "") for flag in _column(table, name)])


def _utkface(table: pd.DataFrame, attribute: str) -> Rows:
    image = _utkface_files(table)
    rows = Rows(image, [""] * len(image))
    for row, name in enumerate(image):
        said = _utkface_name(name)
        if said is None:
            rows.why[row] = "the file name is not age_gender_race_date"
        elif attribute == "race":
            rows.group[row] = _UTKFACE_RACES[int(said["race"])]
        else:
            rows.group[row] = f"gender {said['gender']}"
    return rows


def _facet(table: pd.DataFrame, attribute: str) -> Rows:
    words = _FACET_WORDS[attribute]
    flags = [_column(table, f"{attribute}_presentation_{word}") for word in words]
    group = []
    for of_row in zip(*flags, strict=True):
        said = [
            word for word, flag in zip(words, of_row, strict=True) if flag not in ("", "0", "False")
        ]
        group.append(said[0] if len(said) == 1 else "")
    image = _column(table, "filename")
    # A picture has one vector, which cannot be of one person among several.
    n_people = Counter(image)
    several = (row for row, name in enumerate(image) if n_people[name] > 1)
    why = dict.fromkeys(several, "the picture shows several annotated people")
    return Rows(image, group, _column(table, "class1"), _column(table, "person_id"), why)


def _visogender(table: pd.DataFrame, attribute: str) -> Rows:
    assert attribute == "gender"
    gender = next(column for column in _VISOGENDER_GENDERS if column in table)
    image = _column(table, _URL)
    without = (row for row, url in enumerate(image) if url in ("", "NA"))
    why = dict.fromkeys(without, "no picture was found for it")
    return Rows(image, _column(table, gender), _column(table, "Occupation"), why=why)


def _column(table: pd.DataFrame, name: str) -> list[str]:
    if name not in table:
        raise UserError(f"The table lacks the column {name!r:.60}: add it.")
    return list(texts(table[name].tolist()))


def _has(*columns: str) -> Callable[[pd.DataFrame], bool]:
    return lambda table: set(columns) <= set(table.columns)


def _is_celeba(table: pd.DataFrame) -> bool:
    if "image_id" in table:
        return "Male" in table
    named = all(isinstance(name, str) for name in table.index)
    return named and {"Male", "5_o_Clock_Shadow"} <= set(table.columns)


def _is_visogender(table: pd.DataFrame) -> bool:
    named = {"IDX", "Sector", "Occupation", _URL} <= set(table.columns)
    return named and any(column in table for column in _VISOGENDER_GENDERS)


def _is_utkface(table: pd.DataFrame) -> bool:
    image = _utkface_files(table)
    # A few of its files lack the race.
    return 2 * sum(_utkface_name(name) is not None for name in image) > len(image)


def _utkface_files(table: pd.DataFrame) -> list[str]:
    return next((_column(table, column) for column in _PICTURES if column in table), [])


def _utkface_name(file: str) -> re.Match[str] | None:
    return _UTKFACE_NAME.match(PurePosixPath(file.replace("\\", "/")).name)


_FACET_NEEDS = ("person_id", "filename", "class1")
LAYOUTS = (
    Layout(
        "FairFace",
        {"gender": {"Female": "woman", "Male": "man"}, "race": {}, "age": {}},
        _has("file", "age", "gender", "race", "service_test"),
        _fairface,
    ),
    Layout(
        "CelebA",
        {
            "gender": {"Male -1": "woman", "Male 1": "man"},
            "age": {"Young -1": "not young", "Young 1": "young"},
        },
        _is_celeba,
        _celeba,
    ),
    Layout(
        "FACET",
        {"gender": {"fem": "woman", "masc": "man"}, "age": {}},
        _has(*_FACET_NEEDS, "gender_presentation_masc", "gender_presentation_fem"),
        _facet,
    ),
    Layout(
        "VisoGender",
        {"gender": {"feminine": "woman", "masculine": "man", "woman": "woman", "man": "man"}},
        _is_visogender,
        _visogender,
    ),
    Layout(
        "UTKFace",
        {"gender": {"gender 1": "woman", "gender 0": "man"}, "race": {}},
        _is_utkface,
        _utkface,
    ),
)
"""The layouts that are known."""
