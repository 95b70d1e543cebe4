"""Tables of published data sets as the columns of an audit.

No picture comes with this package. Somebody who has such a data set gives its table as it is
published. Gender is as its annotators perceived it, with two values that are called `woman` and
`man` in every layout, whatever the age; the data set's own words are kept beside them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mm_sae_plugin.applications.bias.groups import texts
from mm_sae_plugin.applications.bias.published import LAYOUTS, Layout
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 12


@dataclass(frozen=True)
class AuditTable:
    """What an audit needs of a data set's table, row by row."""

    layout: str
    """Which layout was recognised."""
    attribute: str
    """What groups are of: gender, race, age."""
    image: tuple[str, ...]
    """File name as the data set has it, or address."""
    group: tuple[str, ...]
    """Of every image."""
    target: tuple[str, ...] | None
    """Occupation or class of every image, where the data set has one."""
    identity: tuple[str, ...] | None
    """Who it shows, where the data set says so."""
    words: dict[str, str]
    """Group to the data set's own word for it."""
    rows: tuple[int, ...]
    """Where each stands in the table, from 0."""
    left_out: dict[str, int]
    """Why rows were left out, to how many."""


def recognised(table: pd.DataFrame) -> Layout:
    """Return the layout of a table.

    Raises
    ------
    UserError
        If it is none that is known, naming the columns seen.
    """
    for layout in LAYOUTS:
        if layout.fits(table):
            return layout
    names = [repr(str(column)) for column in table.columns]
    more = len(names) - _MOST_NAMED
    seen = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    raise UserError(
        f"The columns {seen or '(none)'} are of no layout that is known "
        f"({', '.join(layout.name for layout in LAYOUTS)}): name the group column instead."
    )


def read_layout(
    table: pd.DataFrame, attribute: str = "gender", identities: pd.DataFrame | None = None
) -> AuditTable:
    """Read a published table as the columns of an audit.

    Parameters
    ----------
    table : DataFrame
        As published. CelebA's text file is read with ``sep=r"\\s+", skiprows=1``.
    attribute : str
        What groups are of, among those that the layout has.
    identities : DataFrame, optional
        Image and identity in two columns, as in CelebA's ``identity_CelebA.txt``, which is read
        with ``sep=r"\\s+", header=None``.

    Raises
    ------
    UserError
        If the layout is not known, lacks the attribute or a column of it, or no row is left.
    """
    layout = recognised(table)
    if attribute not in layout.attributes:
        raise UserError(
            f"{layout.name} has no {attribute!r:.40}: choose from {', '.join(layout.attributes)}."
        )
    rows = layout.read(table, attribute)
    why = dict(rows.why)
    if identities is not None:
        known = _identities(identities)
        rows.identity = [known.get(image, "") for image in rows.image]
    called = layout.attributes[attribute]
    group = [called.get(word, "") if called else word for word in rows.group]
    optional = {"target": rows.target, "identity": rows.identity}
    for name, column in {attribute: group, **optional}.items():
        for row, value in enumerate(column or ()):
            if not value:
                why.setdefault(row, f"its {name} is not given")
    kept = [row for row in range(len(group)) if row not in why]
    if not kept:
        reason = f": {next(iter(why.values()))}" if why else ", which is empty"
        raise UserError(f"No row is left of the {layout.name} table{reason}.")
    return AuditTable(
        layout.name,
        attribute,
        tuple(rows.image[row] for row in kept),
        tuple(group[row] for row in kept),
        *(
            None if column is None else tuple(column[row] for row in kept)
            for column in optional.values()
        ),
        words={group[row]: rows.group[row] for row in kept},
        rows=tuple(kept),
        left_out=dict(Counter(why.values())),
    )


def _identities(table: pd.DataFrame) -> dict[str, str]:
    if len(table.columns) != 2:
        raise UserError(
            f"The identity file has {len(table.columns)} columns: it needs two, image and identity."
        )
    image, identity = (texts(table[column].tolist()) for column in table.columns)
    return dict(zip(image, identity, strict=True))
