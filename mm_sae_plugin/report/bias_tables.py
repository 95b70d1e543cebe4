"""An audit's counts and gaps, as tables for a terminal and as files."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_GAP_COLUMNS = ("target", "gap", "low", "high", "no_bias_low", "no_bias_high", "p", "n")


def gaps_frame(record: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a row a target: gap, interval, band under no bias, p, and how many were compared.

    Parameters
    ----------
    record : mapping
        What `audit.json` holds.
    """
    import pandas as pd

    rows = []
    for target, found in record["targets"].items():
        low, high = found["no_bias"]
        values = {**found, "target": target, "no_bias_low": low, "no_bias_high": high}
        rows.append([values[name] for name in _GAP_COLUMNS])
    return pd.DataFrame(rows, columns=list(_GAP_COLUMNS)).set_index("target")


def counts_table(counts: "pd.DataFrame") -> "Table":
    """Build what `rich.print` shows of group sizes, which come before any metric.

    Parameters
    ----------
    counts : DataFrame
        What `Groups.counts` gives: a row a group, a column a target, with totals. Turned here,
        since targets are many.
    """
    groups = [str(name) for name in counts.index]
    rows = ([str(target), *map(str, counts[target].tolist())] for target in counts.columns)
    return _table("Images", ["target", *groups], rows)


def gaps_table(record: Mapping[str, Any]) -> "Table":
    """Build what `rich.print` shows of the gaps, largest first."""
    first = record["groups"]["first"]
    ranked = sorted(record["targets"].items(), key=lambda item: -abs(item[1]["gap"]))
    rows = (
        [
            target,
            f"{found['gap']:+.2f}",
            _range(found["low"], found["high"]),
            _range(*found["no_bias"]),
            f"{found['p']:.3f}",
        ]
        for target, found in ranked
    )
    heading = ["target", "gap", "95%", "without a gap", "p (Holm)"]
    return _table(f"Gap of {first} over the others, logits", heading, rows)


def _range(low: float, high: float) -> str:
    return f"{low:+.2f} to {high:+.2f}"


def _table(title: str, heading: list[str], rows: Iterator[list[str]]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for column, name in enumerate(heading):
        table.add_column(escape(name), justify="right" if column else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
