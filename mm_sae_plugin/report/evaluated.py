"""What `mm-sae evaluate` found, as rows that the page and the terminal both show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.report.palette import DISPLAY_ORDER

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]

NULL_NAMES = {
    "swapped": "sides swapped within pairs",
    "shuffled": "pairs shuffled",
    "untrained": "untrained SAE",
    "gaussian": "Gaussian activations",
}
"""Key of a null in the record to its name for people."""
_COSTS = ("retrieval", "zero_shot")
_MEASURES = {
    "ms_image": "MS, images",
    "ms_text": "MS, captions",
    "embsim_image_20": "EmbSim, images",
    "winrate_image_20": "WinRate, images",
    "embsim_text_20": "EmbSim, captions",
    "winrate_text_20": "WinRate, captions",
}

_SHORT = {"winrate_image_20": "WinRate img", "winrate_text_20": "WinRate txt"}


def unjudged(record: Mapping[str, Any]) -> str:
    """Say that no encoder judged the images, where none did; else nothing."""
    part = record["parts"].get("monosemanticity") or {}
    own = part.get("monosemanticity")
    if own is None or own["encoders"].get("image") is not None:
        return ""
    return " Images were not judged: name an encoder with --image-encoder."


def null_rows(record: Mapping[str, Any], labels: str = "as_labelled") -> list[Row]:
    """Class counts of the labels as they are, then under each null.

    Parameters
    ----------
    record : mapping
        What `evaluation.json` holds.
    labels : str
        `as_labelled`, or `paper` for the paper's score and rule.
    """
    part = record["parts"].get("nulls")
    if part is None:
        return []
    looks = {"the labels": part["real"]}
    looks |= {NULL_NAMES[name]: found for name, found in part["nulls"].items()}
    return [
        {"name": name, "counts": {each: found[labels][each]["mean"] for each in DISPLAY_ORDER}}
        for name, found in looks.items()
    ]


def survival_rows(record: Mapping[str, Any]) -> list[Row]:
    """Of each class, the share that another seed gives again; one row a seed and class."""
    part = record["parts"].get("stability")
    return [
        {"seed": seed["seed"], "name": name, **{key: group[key] for key in _SURVIVAL}}
        for seed in (part or {"seeds": []})["seeds"]
        for name, group in seed["groups"].items()
        if group["of_alive"]["n"]
    ]


_SURVIVAL = ("matched", "of_alive", "of_matched", "chance")


def cost_rows(record: Mapping[str, Any]) -> list[Row]:
    """What removing each set of latents from both sides costs."""
    part = record["parts"].get("causal")
    if part is None:
        return []
    return [row for row in part["rows"] if row["side"] == "both"]


def system_rows(record: Mapping[str, Any]) -> list[Row]:
    """The SAE beside other features."""
    part = record["parts"].get("monosemanticity")
    return [] if part is None else part["rows"]


def measure_names(rows: list[Row]) -> dict[str, str]:
    """Measures of monosemanticity that some system has, and how they are called."""
    known = {key for row in rows for key, value in (row["monosemanticity"] or {}).items() if value}
    return {key: name for key, name in _MEASURES.items() if key in known}


def evaluation_tables(record: Mapping[str, Any]) -> Iterator[Table]:
    """Yield what `rich.print` shows: nulls, seeds, removals and rivals, as far as measured."""
    if rows := null_rows(record):
        score = record["labels"]["score"]
        table = _table(f"Latents of each class, by {score}", "", *DISPLAY_ORDER)
        for row in rows:
            table.add_row(row["name"], *(f"{row['counts'][name]:.0f}" for name in DISPLAY_ORDER))
        yield table
    if rows := survival_rows(record):
        heads = ("seed", "class", "found again", "same class", "of those found", "by chance")
        table = _table("The same from another seed", *heads)
        for row in rows:
            shares = (_share(row[key]) for key in ("matched", "of_alive", "of_matched"))
            chance = row["chance"]["value"]
            table.add_row(str(row["seed"]), row["name"], *shares, _percent(chance))
        yield table
    if rows := cost_rows(record):
        heads = ("removed from both sides", "latents", "retrieval", "less random")
        table = _table("What removing latents changes", *heads, "zero-shot", "less random")
        table.caption = (
            "Less random: beyond what as many random latents change that fire alike. In brackets "
            "where the 95% interval holds 0."
        )
        for row in rows:
            table.add_row(row["name"], str(row["n_latents"] or "–"), *_cost_cells(row))
        yield table
    if rows := system_rows(record):
        # A terminal has no room for all of them.
        keys = [key for key in measure_names(rows) if key.startswith("winrate")]
        heads = ("features", "alive", "ImgD", "CrossD", "TextD", "split")
        table = _table("Beside other features", *heads, *(_SHORT[key] for key in keys))
        table.caption = (
            "Classes by carried dominance. Split: of the known values, those that one feature "
            "follows in images and another in captions. WinRate: .5 by chance."
            f"{unjudged(record)}"
        )
        for row in rows:
            table.add_row(*_system_cells(row, keys))
        yield table


def _cost_cells(row: Mapping[str, Any]) -> Iterator[str]:
    for task in _COSTS:
        found = row["measures"].get(task, {})
        yield _short(found.get("difference"))
        yield _short(found.get("beyond_random"))


def _system_cells(row: Mapping[str, Any], measures: list[str]) -> list[str]:
    classes = row["classes"]["carried"]
    split = row["split"]
    found = row["monosemanticity"] or {}
    return [
        row["name"],
        f"{row['n_alive']:,}/{row['n_features']:,}",
        *(f"{classes[name]:,}" for name in ("ImgD", "CrossD", "TextD")),
        _percent(None if split is None else split["rate"]),
        *("–" if found.get(key) is None else f"{found[key]:.3f}" for key in measures),
    ]


def _table(title: str, first: str, *others: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(first, no_wrap=True)
    for head in others:
        table.add_column(head, justify="right")
    return table


def estimate(found: Mapping[str, float | None] | None) -> tuple[str, str]:
    """Write a difference and its interval; – and nothing where there is none."""
    if found is None or found["value"] is None:
        return "–", ""
    low, high = found["low"] or 0.0, found["high"] or 0.0
    return _written(found["value"]), f"[{_written(low)}, {_written(high)}]"


def _written(value: float) -> str:
    """With its sign, a true minus; what rounds to 0 has none."""
    rounded = round(value, 3)
    return "0.000" if rounded == 0 else f"{rounded:+.3f}".replace("-", "−")


def _short(found: Mapping[str, float | None] | None) -> str:
    if found is None or found["value"] is None:
        return "–"
    low, high = found["low"] or 0.0, found["high"] or 0.0
    written = _written(found["value"])
    return f"({written})" if low <= 0 <= high else written


def _share(found: Mapping[str, Any]) -> str:
    value = found["count"] / found["n"] if found["n"] else None
    return f"{found['count']} of {found['n']} ({_percent(value)})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}%"
