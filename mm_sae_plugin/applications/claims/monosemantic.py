"""Claim C3: features of an SAE, or of a contrastive head, are more monosemantic than dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mm_sae_plugin.applications.claims.claim import Finding, told
from mm_sae_plugin.applications.verdict import Verdict

N_TOP = 20
"""Strongest samples of EmbSim and WinRate, as in the paper."""
_MEASURES = ("embsim_image", "winrate_image", "embsim_text", "winrate_text")


def claim_c3(system: str, model: str, differences: Sequence[Mapping[str, Any]]) -> Finding:
    """Judge a system against the model's raw dimensions.

    It is *supported* where EmbSim and WinRate are higher on every side that was judged, *not
    supported* where one of them is lower, each time with the whole interval.

    Parameters
    ----------
    system : str
        Name of the features.
    model : str
        Of the encoder.
    differences : sequence of mapping
        The system less the raw dimensions, a measure each: ``key``, ``means``, ``n_features``,
        ``difference``, ``low``, ``high`` and ``verdict`` (`more`, `less` or `undecided`).
    """
    by_key = {row["key"]: row for row in differences}
    chosen = [by_key[key] for name in _MEASURES if (key := f"{name}_{N_TOP}") in by_key]
    label = f"{model}: {system} against raw"
    if not chosen:
        reason = f"Neither images nor captions were judged by {N_TOP} samples."
        return Finding("C3", None, label, "undecided", reason)
    found = {row["verdict"] for row in chosen}
    verdict: Verdict = "undecided"
    if found == {"more"}:
        verdict = "supported"
    elif "less" in found:
        verdict = "not supported"
    found_of = ", ".join(_told(row) for row in chosen)
    first = chosen[0]
    return Finding(
        "C3",
        None,
        label,
        verdict,
        f"Means over features, less those of raw dimensions: {found_of}.",
        first["difference"],
        first["low"],
        first["high"],
        0.0,
        first["n_features"][0],
    )


def _told(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return f"{row['key']} unknown"
    ends = f"[{told(row['low'])}, {told(row['high'])}]"
    return f"{row['key']} {told(row['difference'])} {ends}"
