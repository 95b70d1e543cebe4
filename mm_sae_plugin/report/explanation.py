"""Terminal tables of latents that fire, and of what a similarity is made of."""

from typing import TYPE_CHECKING, Any

from mm_sae_plugin.features.similarity import Comparison, SideContributions
from mm_sae_plugin.report.palette import COLOURS

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def latents_table(title: str, latents: "pd.DataFrame") -> "Table":
    """Latents with class, score, interval and suggested name.

    Parameters
    ----------
    title : str
    latents : DataFrame
        As `Explorer.search` gives them.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for column in ("latent", "activation"):
        table.add_column(column, justify="right")
    for column in ("class", "score", "name", "partner"):
        table.add_column(column, overflow="fold")
    for row in latents.to_dict("records"):
        partner = row.get("partner")
        table.add_row(
            f"#{row['latent']}",
            f"{row['activation']:.3f}",
            f"[{COLOURS[row['class']]}]●[/] {row['class']}",
            _score(row),
            escape(row["name"]) or "–",
            f"#{partner}" if isinstance(partner, int) else "–",
        )
    if not len(latents):
        table.caption = "No latent fires on it."
    return table


def contributions_table(similarity: Comparison, latents: "pd.DataFrame", top: int) -> "Table":
    """What each side's latents, bias and error add to the similarity.

    Parameters
    ----------
    similarity : Comparison
        As `Study.compare` gives it.
    latents : DataFrame
        `Explorer.table`, for the names.
    top : int
        Latents to show of each side.
    """
    from rich.table import Table

    table = Table(title=f"Their similarity is {similarity.similarity:.3f}", title_justify="left")
    table.add_column("")
    for side in ("of the picture", "of the caption"):
        table.add_column(side, justify="right")
        table.add_column("", overflow="fold")
    image, text = (_rows(side, latents, top) for side in (similarity.image, similarity.text))
    for number in range(max(len(image), len(text))):
        left = image[number] if number < len(image) else ("", "")
        right = text[number] if number < len(text) else ("", "")
        table.add_row("latent" if number == 0 else "", *left, *right)
    for name in ("other latents", "bias", "error"):
        table.add_row(
            name,
            f"{_rest(similarity.image, name, top):+.3f}",
            "",
            f"{_rest(similarity.text, name, top):+.3f}",
            "",
        )
    return table


def _rows(side: SideContributions, latents: "pd.DataFrame", top: int) -> list[tuple[str, str]]:
    from rich.markup import escape

    return [
        (f"{added:+.3f}", f"#{latent} {escape(latents['name'].iloc[latent])}".rstrip())
        for latent, added in side.most(top)
    ]


def _rest(side: SideContributions, name: str, top: int) -> float:
    if name == "bias":
        return side.bias
    if name == "error":
        return side.error
    return side.others(top)


def _score(row: Any) -> str:
    if row["mds"] != row["mds"]:
        return "–"
    return f"{row['mds']:.2f} \\[{row['mds_low']:.2f}, {row['mds_high']:.2f}]"
