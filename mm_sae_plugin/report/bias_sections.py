"""The sections of the audit card: to change what it shows, or in which order, change the list.

Each takes what its template names from the record of an audit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.report.bias_examples import LatentExamples
from mm_sae_plugin.report.bias_figures import GapRow, both_widths, gap_figure, spread_figure
from mm_sae_plugin.report.bias_origin import mitigation, origin

Record = Mapping[str, Any]
Values = dict[str, Any]
LEVEL = 0.05
"""Of the p-values that are counted."""


@dataclass(frozen=True)
class Section:
    """A part of the card."""

    anchor: str
    """Its address within the page."""
    heading: str
    """Its title."""
    template: str
    """Its file in ``templates/bias/``."""
    values: Callable[[Record, Mapping[int, LatentExamples]], Values]
    """What the template names."""


def sides(record: Record) -> tuple[str, str]:
    """Return the group that counts with a plus, and what it is compared with."""
    first = record["groups"]["first"]
    others = [name for name in record["groups"]["names"] if name != first]
    return first, others[0] if len(others) == 1 else "the other groups"


def is_of_twins(record: Record) -> bool:
    """Whether pictures are compared with their own twins."""
    source = record["source"]
    return source["kind"] == "twins" or "twin" in (source.get("columns") or {})


def _counts(record: Record, _: Any) -> Values:
    counts, source = record["groups"]["counts"], record["source"]
    names = record["groups"]["names"]
    totals = {name: sum(row[name] for row in counts.values()) for name in names}
    return {
        "source": source,
        "names": names,
        "counts": counts,
        "totals": totals,
        "has_targets": set(counts) != {"all images"},
        "left_out": source.get("left_out") or {},
        "not_compared": record.get("not_compared") or [],
        "unreadable": source.get("unreadable") or {},
        "gone": source.get("gone") or [],
        "is_of_twins": is_of_twins(record),
    }


def _gaps(record: Record, _: Any) -> Values:
    first, second = sides(record)
    direction = record["prompts"].get("direction") or {}
    targets = dict(sorted(record["targets"].items(), key=lambda item: -item[1]["gap"]))
    rows = [
        GapRow(
            name,
            found["gap"],
            found["low"],
            found["high"],
            tuple(found["no_bias"]),
            (0 if direction[name] == first else 1) if name in direction else None,
        )
        for name, found in targets.items()
    ]
    return {
        "first": first,
        "second": second,
        "targets": targets,
        "direction": direction,
        "stated": list(dict.fromkeys(direction.values())),
        "figure": both_widths(lambda width: gap_figure(rows, first, second, width)),
        "n_sure": sum(found["p"] <= LEVEL for found in targets.values()),
        "unit": _unit(record),
        "is_of_twins": is_of_twins(record),
        "has_targets": set(record["groups"]["counts"]) != {"all images"},
    }


def _unit(record: Record) -> str:
    """What intervals were resampled over."""
    if is_of_twins(record):
        return "pairs"
    counts = {name: sum(row.values()) for name, row in record["groups"]["counts"].items()}
    whole = counts.get("all images")
    same = all(found["n"] == counts.get(n, whole) for n, found in record["targets"].items())
    return "images" if same else "people"


def _nuisances(record: Record, _: Any) -> Values:
    nuisances, spread = record["nuisances"], record["spread"]
    if not nuisances:
        return {"figure": None, "is_of_twins": is_of_twins(record)}
    flip = record["source"]["flip"]
    asked = f"{flip[0]} {flip[1]}/{flip[2]}"
    return {
        "figure": both_widths(lambda width: spread_figure(spread, nuisances, asked, width)),
        "asked": asked,
        "spread": spread,
        "n": len(nuisances),
        "larger": [name for name, value in nuisances.items() if value >= spread],
        "largest": max(nuisances.items(), key=lambda item: item[1]),
    }


def _direction(record: Record, _: Any) -> Values:
    first, second = sides(record)
    stated = record["prompts"].get("direction") or {}
    by_group = {
        group: [target for target, side in stated.items() if side == group]
        for group in dict.fromkeys(stated.values())
    }
    return {
        "test": record["direction"],
        "verdict": record["verdict"],
        "by_group": by_group,
        "first": first,
        "second": second,
        "level": LEVEL,
    }


def _rankings(record: Record, _: Any) -> Values:
    metrics = record.get("metrics") or {}
    return {
        "metrics": metrics,
        "first": sides(record)[0],
        "has_targets": set(record["groups"]["counts"]) != {"all images"},
        "wording": {
            name: sorted(found["gap_by_template"].items(), key=lambda item: item[1])
            for name, found in metrics.items()
        },
    }


def _effect_size(record: Record, _: Any) -> Values:
    first, second = sides(record)
    return {"effect": record["effect_size"], "first": first, "second": second}


def _accuracy(record: Record, _: Any) -> Values:
    accuracy, names = record["accuracy"], record["groups"]["names"]
    if accuracy is None:
        return {"accuracy": None}
    cells = accuracy["by_group_and_target"]
    table: dict[str, dict[str, Any]] = {}
    for cell in cells:
        table.setdefault(cell["target"], {})[cell["group"]] = cell
    n_choices = len(record["prompts"]["targets"])
    return {"accuracy": accuracy, "names": names, "table": table, "n_choices": n_choices}


def _sensitivity(record: Record, _: Any) -> Values:
    found = record["sensitivity"]
    templates = None if found is None else found["templates"]
    return {
        "found": found,
        "templates": templates,
        "ordered": []
        if templates is None
        else sorted(templates["by_template"].items(), key=lambda item: item[1]),
        "is_signed": templates is not None and templates["same_sign"] is not None,
    }


def _repeat(record: Record, _: Any) -> Values:
    prompts = PromptSet.from_dict(record["prompts"])
    source = {
        name: value
        for name, value in record["source"].items()
        if name not in ("left_out", "unreadable") and value not in (None, "", {}, [])
    }
    sae = record["sae"] or {}
    settings = {
        "model": record["model"]["name"],
        "weights": record["model"]["weights_id"],
        **{f"data: {name}": _plain(value) for name, value in source.items()},
        "group with a plus": record["groups"]["first"],
        "seed": record["seed"],
        **{f"SAE: {name}": _plain(value) for name, value in sae.items()},
        **{f"version of {name}": value for name, value in record["versions"].items()},
    }
    return {
        "prompts": prompts.prompts,
        "templates": prompts.templates,
        "targets": prompts.targets,
        "direction": prompts.direction,
        "words": record.get("words") or {},
        "settings": settings,
        "n": sum(map(len, prompts.prompts.values())),
    }


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _limits(record: Record, _: Any) -> Values:
    return {"limits": record["limits"]}


SECTIONS = (
    Section("counts", "How many images of whom", "counts.html", _counts),
    Section("gap", "1 · Is there a gap in this model?", "gaps.html", _gaps),
    Section(
        "larger", "2 · Is it larger than gaps that mean nothing?", "nuisances.html", _nuisances
    ),
    Section("direction", "3 · Does it follow the stated direction?", "direction.html", _direction),
    Section("rankings", "What a search finds", "rankings.html", _rankings),
    Section("effect", "Effect size", "effect.html", _effect_size),
    Section("accuracy", "Accuracy by group", "accuracy.html", _accuracy),
    Section("origin", "What the gap comes from", "origin.html", origin),
    Section("mitigation", "What makes it smaller, and at what cost", "mitigation.html", mitigation),
    Section("sensitivity", "Wording and background", "sensitivity.html", _sensitivity),
    Section("repeat", "All that it takes to repeat this", "repeat.html", _repeat),
    Section("limits", "Limits", "limits.html", _limits),
)
"""As on the card, from the top: counts stand before any metric."""
