"""Sections of the audit card that need an SAE: what a gap comes from, and what makes it smaller."""

from collections.abc import Mapping
from statistics import mean
from typing import Any

from mm_sae_plugin.report.bias_examples import LatentExamples
from mm_sae_plugin.report.bias_figures import LeftRow, both_widths, left_figure
from mm_sae_plugin.report.palette import COLOURS

_PAPER = " (paper)"
_SIDES = {"image": "images", "text": "texts", "both": "both"}
_N_SHOWN = 6
"""Latents whose exemplars stand open; the others are folded."""


def origin(record: Mapping[str, Any], examples: Mapping[int, LatentExamples]) -> dict[str, Any]:
    """What the gap comes from: classes, latents, concepts, and claim C7."""
    found = record["attribution"]
    if found is None:
        return {"found": None, "why": record["attribution_left_out"]}
    rows = [_class_row(row) for row in found["classes"]]
    rules = {
        "by the labels' own score": [row for row in rows if not row["is_paper"]],
        "by the paper's score": [row for row in rows if row["is_paper"]],
    }
    start = LeftRow("reconstruction only", found["reconstruction_only"], (), None)
    latents = [{**row, "examples": examples.get(row["latent"])} for row in found["latents"]]
    illustrated = [row for row in latents if row["examples"] is not None]
    return {
        "found": found,
        "summary": record["summary"]["name"],
        "as_it_is": _cost(found["measured"]),
        "rules": {
            name: (own, _left([start, *(row["drawn"] for row in own)], found["whole"]))
            for name, own in rules.items()
            if own
        },
        "score": record["sae"]["score"],
        "counts": record["sae"]["class_counts"],
        "latents": latents,
        "shown": illustrated[:_N_SHOWN],
        "folded": illustrated[_N_SHOWN:],
        "asymmetries": {
            "by the labels' own score": found["asymmetry"],
            "by the paper's score": found["asymmetry_paper"],
        },
        "chance": found["measured"]["chance"],
    }


def mitigation(record: Mapping[str, Any], _: Any) -> dict[str, Any]:
    """Ways to make the gap smaller, each with what it costs."""
    rows = [
        {
            **row,
            "side": _SIDES[row["side"]],
            "left": row["measured"]["summary"],
            "cost": _cost(row["measured"]),
            "worst": row["measured"]["worst_group"],
            "worst_accuracy": row["measured"]["group_accuracy"].get(row["measured"]["worst_group"]),
        }
        for row in record["mitigations"]
    ]
    return {
        "rows": rows,
        "summary": (record.get("summary") or {}).get("name"),
        "chance": rows[0]["measured"]["chance"] if rows else None,
        "why": record["attribution_left_out"],
    }


def _class_row(row: Mapping[str, Any]) -> dict[str, Any]:
    removed = row["removed"]
    name = removed["name"].removesuffix(_PAPER)
    side = _SIDES[removed["side"]]
    random = tuple(removed["random"])
    return {
        **removed,
        "name": name,
        "side": side,
        "is_paper": removed["name"].endswith(_PAPER),
        "n_by_association": row["n_by_association"],
        "reach": (min(random), max(random)) if random else None,
        "mismatch": row["mismatch"],
        "as_removed": row["measured"]["summary"],
        "cost": _cost(row["measured"]),
        "drawn": LeftRow(f"{name}, {side}", removed["value"], random, COLOURS[name]),
    }


def _cost(measured: Mapping[str, Any]) -> dict[str, float | None]:
    """What the model is still good for, and how well it still knows the group."""
    factors = list(measured["zero_shot"].values())
    return {
        "retrieval": measured["retrieval"],
        "zero-shot": mean(factors) if factors else None,
        "readable": measured["readable"],
        "named": measured["named"],
    }


def _left(rows: list[LeftRow], whole: float) -> Any:
    return both_widths(lambda width: left_figure(rows, whole, width))
