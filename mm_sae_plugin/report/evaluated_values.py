"""What the page's section on an evaluation names."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from mm_sae_plugin.report.evaluated import (
    cost_rows,
    estimate,
    measure_names,
    null_rows,
    survival_rows,
    system_rows,
    unjudged,
)
from mm_sae_plugin.report.results import Results

_TASKS = {"retrieval": "retrieval", "zero_shot": "zero-shot"}
_TESTS = {
    "swap": "fire on one side more than on the other",
    "coactivation": "fire on both sides of a pair more often than in shuffled pairs",
    "carry": "are told from the other side's activations better than in shuffled pairs",
}


def evaluated_values(results: Results) -> dict[str, Any] | None:
    """Take what the template names; None where nothing was evaluated."""
    record = results.evaluated
    if record is None:
        return None
    parts, systems = record["parts"], system_rows(record)
    stability, causal = parts.get("stability") or {}, parts.get("causal") or {}
    costs = cost_rows(record)
    return {
        "score": record["labels"]["score"],
        "n_pairs": f"{parts['nulls']['pairs']['n_pairs']:,}" if "nulls" in parts else "",
        "nulls": null_rows(record),
        "stands": _stands(parts.get("nulls")),
        "stability": stability.get("sentence"),
        "stability_reason": stability.get("untrained_reason"),
        "survival": survival_rows(record),
        "costs": costs,
        "tasks": {key: name for key, name in _TASKS.items() if costs and key in costs[0]["costs"]},
        "gallery": causal.get("gallery"),
        "steering": causal.get("steerability"),
        "estimate": estimate,
        "systems": systems,
        "measures": measure_names(systems),
        "unjudged": unjudged(record),
        "claims": [
            (sentence, list(group))
            for sentence, group in groupby(record["claims"], key=lambda claim: claim["sentence"])
        ],
        "not_measured": record["not_measured"],
    }


def _stands(nulls: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if nulls is None:
        return None
    latents = nulls["latents"]
    return {
        "level": latents["false_discovery_rate"],
        "tests": {_TESTS[name]: found for name, found in latents["stands"].items()},
        "unrelated": latents["equal_but_unrelated"]["as_labelled"],
    }
