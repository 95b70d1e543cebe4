"""Latents as lines of a table: what stands in each column, and how it is sorted and filtered."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from mm_sae_plugin.demos.explorer.drawing import dot, interval, number
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.wording import n_latents

if TYPE_CHECKING:
    import pandas as pd

ALL_CLASSES = "all classes"
OFTEN = "how often it fires"
"""By which the table is sorted at first: on images and captions together."""
ANY = "any"
"""No column restricts what is shown."""
ROWS = 50
"""Latents on a page of the table."""


Kind = Literal["str", "number", "html"]
"""What Gradio calls the datatype of a column."""


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    header: str
    """What stands above it."""
    show: Callable[[dict[str, Any]], str | int]
    """A row of `Explorer.table` -> the cell."""
    kind: Kind
    """Gradio's datatype."""
    sorts: dict[str, str]
    """What it can be sorted by, in words -> column of `Explorer.table`."""


def _share(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: f"{row[name]:.1%}"


def _named(row: dict[str, Any]) -> str:
    how = ""
    if row["named_by"] == "captions":
        how = f"+{row['raised_by']:.0%}"
    elif row["named_by"] == "images":
        how = f"cosine {row['cosine']:.2f}"
    return f"{escape(row['name'])} {_soft(how)}"


def _scored(row: dict[str, Any]) -> str:
    if math.isnan(row["mds"]):
        return "–"
    drawn = interval(row["mds"], row["mds_low"], row["mds_high"])
    return f'<span class="lt-scored">{number(row["mds"])} {drawn}</span>'


def _known(row: dict[str, Any]) -> str:
    if not row.get("nearest"):
        return ""
    return f"{escape(row['nearest'])} {_soft(format(row['eta2'], '.0%'))}"


def _soft(text: str) -> str:
    return f'<span class="lt-soft">{text}</span>' if text else ""


def _partner(row: dict[str, Any]) -> str:
    # Missing ones are NA or NaN, which equal nothing.
    found = row.get("partner")
    return str(found) if isinstance(found, int | float) and found == found else ""


_COLUMNS = (
    Column("Latent", lambda row: row["latent"], "number", {"latent": "latent"}),
    Column("Class", lambda row: dot(row["class"]), "html", {"class": "class"}),
    Column(
        "Name",
        _named,
        "html",
        {
            "name": "name",
            "how much the name raises it": "raised_by",
            "how much images look like it": "cosine",
        },
    ),
    Column(
        "Score",
        _scored,
        "html",
        {"score": "mds", "lower end of its interval": "mds_low", "upper end": "mds_high"},
    ),
    Column(
        "Paper's",
        lambda row: number(row["mean_of_ratios"]),
        "str",
        {"the paper's score": "mean_of_ratios"},
    ),
    Column("Images", _share("rate_image"), "str", {"rate on images": "rate_image"}),
    Column("Captions", _share("rate_text"), "str", {"rate on captions": "rate_text"}),
    Column("Partner", _partner, "str", {"partner": "partner"}),
    Column(
        "Nearest factor", _known, "html", {"nearest factor": "nearest", "factor's share": "eta2"}
    ),
)


class Listing:
    """The table of an explorer, as far as its SAE has the columns.

    Parameters
    ----------
    table : DataFrame
        `Explorer.table`.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table.assign(often=table["rate_image"] + table["rate_text"])
        has = set(self._table.columns)
        self._columns = [c for c in _COLUMNS if has.intersection(c.sorts.values())]
        self.headers = [column.header for column in self._columns]
        self.kinds: list[Kind] = [column.kind for column in self._columns]
        words = {said: name for c in self._columns for said, name in c.sorts.items() if name in has}
        self.sorts = {OFTEN: "often", **words}
        """What it can be sorted by, in words -> column."""
        numeric = self._table.select_dtypes("number").columns
        self.ranges = {said: name for said, name in self.sorts.items() if name in numeric}
        """What can be kept within limits, likewise."""

    def filtered(
        self, chosen: str, contains: str | None, limited: str, low: str | None, high: str | None
    ) -> pd.DataFrame:
        """Return the latents of a class, with a name, and within limits.

        Parameters
        ----------
        chosen : str
            A class, or `ALL_CLASSES`.
        contains : str, optional
            What name or nearest factor must hold, in any case; empty for no such rule.
        limited : str
            One of `ranges`, or `ANY`.
        low, high : str, optional
            Its limits, both within, as typed; empty for none. What has no value is left out.

        Raises
        ------
        UserError
            If a limit is no number, or the lower one is above the upper one.
        """
        table = self._table
        kept = table["class"].isin(CLASSES if chosen == ALL_CLASSES else [chosen])
        wanted = (contains or "").strip().lower()
        if wanted:
            said = table["name"].fillna("").astype(str)
            if "nearest" in table:
                said = said + " " + table["nearest"].fillna("").astype(str)
            kept &= said.str.lower().str.contains(wanted, regex=False)
        if limited == ANY and ((low or "").strip() or (high or "").strip()):
            raise UserError("Choose first what the limits are of, under “Only with this …”.")
        if limited != ANY:
            least, most = _limit(low, -math.inf), _limit(high, math.inf)
            if least > most:
                raise UserError(
                    f"No {limited} is at least {least:g} and at most {most:g}: swap the two."
                )
            values = table[self.ranges[limited]].astype("float64")
            kept &= values.between(least, most)
        return table.loc[kept]

    def sorted(self, table: pd.DataFrame, by: str, largest_first: bool) -> pd.DataFrame:
        """Sort latents by one of `sorts`; those without a value come last."""
        column = self.sorts[by]
        values = table[column]
        if values.dtype.kind == "O":
            # An empty word is no value.
            table = table.assign(**{column: values.where(values != "")})
        ordered = table.sort_values(
            [column, "latent"], ascending=[not largest_first, True], na_position="last"
        )
        return self._table.loc[ordered.index]

    def page(
        self, table: pd.DataFrame, page: float | None
    ) -> tuple[list[list[str | int]], str, int]:
        """Return the lines of a page of latents, a sentence of how many there are, and its number.

        It is the nearest page that there is.
        """
        n_pages = max(-(-len(table) // ROWS), 1)
        at = min(max(int(page or 1), 1), n_pages)
        shown = self.lines(table.iloc[(at - 1) * ROWS : at * ROWS])
        return shown, f"{n_latents(len(table))}, page {at} of {n_pages}", at

    def lines(self, table: pd.DataFrame) -> list[list[str | int]]:
        """Return the cells of some latents, row by row."""
        rows = table.to_dict("records")
        return [[column.show(row) for column in self._columns] for row in rows]


def _limit(typed: str | None, default: float) -> float:
    """A limit as a person types it: 0.5, 5% or nothing."""
    text = (typed or "").strip()
    if not text:
        return default
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UserError(f"{text[:40]!r} is no number: give limits such as 0.4 or 40%.")
    return value / 100 if text.endswith("%") else value
