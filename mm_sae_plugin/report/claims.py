"""The paper's claims with their verdicts, in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.claims.claim import told

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {"supported": "green", "not supported": "red", "undecided": "yellow"}
_CAPTION = (
    "Labels: classes by carried dominance, or by the paper's own score. A verdict needs the whole "
    "95% interval on one side; of C1 and C2 it is over the latents of one SAE for each model, of "
    "C3 and C4 over images."
)
_HEAD = "| | labels | model | verdict | difference | null | n | what was found |"


def claims_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Build what `rich.print` shows: each claim's sentence, and a line for each verdict.

    Parameters
    ----------
    rows : sequence of mapping
        As `claims.json` holds them, in order.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title="Claims of Yan et al. 2025, tested",
        title_justify="left",
        caption=_CAPTION,
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for head in ("", "labels", "verdict"):
        table.add_column(head, no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for claim, group in groupby(rows, key=lambda row: row["claim"]):
        of_claim = list(group)
        table.add_row(claim, "", "", f"[bold]{escape(of_claim[0]['sentence'])}[/bold]")
        for row in of_claim:
            style = _STYLES.get(row["verdict"], "dim")
            model = f"{row['model']}: " if row["model"] else ""
            told = escape(f"{model}{row['reason']}")
            table.add_row("", row["labels"] or "", f"[{style}]{row['verdict']}[/{style}]", told)
    return table


def claims_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the same as Markdown, with the figures in columns of their own."""
    lines = ["# The claims of Yan et al. 2025, tested", ""]
    for claim, group in groupby(rows, key=lambda row: row["claim"]):
        of_claim = list(group)
        lines += [f"## {claim}. {of_claim[0]['sentence']}", "", _HEAD, f"|{'---|' * 8}"]
        lines += [_line(number, row) for number, row in enumerate(of_claim, start=1)]
        lines.append("")
    lines += [_CAPTION, ""]
    return "\n".join(lines)


def _line(number: int, row: Mapping[str, Any]) -> str:
    difference = _figure(row["value"])
    if row["low"] is not None:
        difference += f" [{_figure(row['low'])}, {_figure(row['high'])}]"
    cells = (
        str(number),
        row["labels"] or "–",
        row["model"] or "–",
        f"**{row['verdict']}**",
        difference,
        _figure(row["null"]),
        "–" if row["n"] is None else f"{row['n']:,}",
        # A bar would begin another cell.
        row["reason"].replace("|", "\\|"),
    )
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "–" if value is None else told(value)
