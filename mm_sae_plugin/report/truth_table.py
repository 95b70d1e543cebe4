"""A sweep in a terminal: how the paper's score and the carried one keep to the truth."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.label_truth.grid import MODELS
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE

if TYPE_CHECKING:
    from rich.table import Table

_SCORES = (PAPER_SCORE, CARRIED)
_CONTRASTS = ("ImgD_vs_TextD", "ImgD_vs_shared", "TextD_vs_shared")


def sweep_table(rows: Iterable[Mapping[str, Any]]) -> "Table":
    """Build what `rich.print` shows: two lines a dictionary, the range over its seeds.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of a sweep; those of other scores are left out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="Scores against the known truth (range over the seeds)",
        title_justify="left",
        caption="AUROC, share within 0.07 of the truth, share of intervals that hold it,\n"
        "for latents that one factor explains at least half of.",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for head in ("dictionary", "score"):
        table.add_column(head, vertical="bottom")
    for head in ("image\ntext", "image\nshared", "text\nshared", "within\n0.07", "holds\ntruth"):
        table.add_column(head, justify="right", no_wrap=True)
    for names, group in _grouped(rows).items():
        for i, score in enumerate(_SCORES):
            of_score = [row for row in group if row["score"] == score]
            table.add_row(
                names[i],
                "paper" if score == PAPER_SCORE else score,
                *(_range([row["auroc"][contrast] for row in of_score]) for contrast in _CONTRASTS),
                _range([row["within"] for row in of_score], percent=True),
                _range([row["coverage"] for row in of_score], percent=True),
                end_section=i == len(_SCORES) - 1,
            )
    return table


def _grouped(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Rows by dictionary, whose name takes two lines."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        size = f"{row['d_sae']:,}, k = {row['k']}"
        if row["model"] != MODELS[0]:
            size += f", {row['model'].removeprefix(f'{MODELS[0]}-')}"
        groups.setdefault((row["architecture"], size), []).append(row)
    return groups


def _range(values: Sequence[float | None], percent: bool = False) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low, high = (f"{100 * v:.0f}" if percent else f"{v:.2f}" for v in (min(known), max(known)))
    told = low if low == high else f"{low}–{high}"
    # No zero in front of the point: two numbers share a narrow column.
    return f"{told}%" if percent else told.replace("0.", ".")
