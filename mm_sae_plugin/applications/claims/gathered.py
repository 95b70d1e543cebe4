"""Claims that other commands judged, out of the files that they wrote: C5, C6 and C7."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mm_sae_plugin.applications.claims.claim import Finding, Labels
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json

FILES = {
    "robustness.json": "mm-sae robustness",
    "steering.json": "mm-sae steering-eval",
    "audit.json": "mm-sae bias",
}
"""Name of each file that a claim may stand in, and the command that writes it."""
_KEYS: tuple[tuple[str, Labels, str], ...] = (
    ("C5", "carried", "claim_c5"),
    ("C5", "paper", "claim_c5_paper_labels"),
    ("C6", "carried", "claim_c6"),
    ("C6", "paper", "claim_c6_paper_labels"),
)
_ASYMMETRIES: tuple[tuple[Labels, str], ...] = (
    ("carried", "asymmetry"),
    ("paper", "asymmetry_paper"),
)
_MADE_BY = {
    "C5": "mm-sae align --arms` and then `mm-sae robustness",
    "C6": "mm-sae steering-eval",
    "C7": "mm-sae bias --sae SAE_DIR",
}


def gathered_claims(paths: Iterable[Path]) -> list[Finding]:
    """Read claims C5 to C7; those that no file has are *not tested*.

    Parameters
    ----------
    paths : iterable of Path
        Files of ``FILES``, or folders that hold some.

    Raises
    ------
    UserError
        If a file is none of them, cannot be read, or a folder holds none.
    """
    found = [finding for path in paths for file in _files(path) for finding in _claims(file)]
    named = {finding.claim for finding in found}
    missing = [
        Finding(claim, None, "", "not tested", f"Measure it with `{command}`.")
        for claim, command in _MADE_BY.items()
        if claim not in named
    ]
    return sorted([*found, *missing], key=lambda finding: finding.claim)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [path / name for name in FILES if (path / name).is_file()]
    if not files:
        written = ", ".join(f"{name} ({command})" for name, command in FILES.items())
        raise UserError(f"{path} holds no record of a claim: give a folder with {written}.")
    return files


def _claims(path: Path) -> list[Finding]:
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}: give a folder or file that is there.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: write it again ({error}).") from error
    try:
        found = [*_verdicts(record), *_interactions(record)]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no record that this version reads ({error!r:.60}): write it again."
        ) from error
    if not found:
        raise UserError(
            f"{path} says nothing of a claim: give what {', '.join(FILES.values())} wrote, the "
            "last with --sae."
        )
    return found


def _verdicts(record: Mapping[str, Any]) -> list[Finding]:
    """Claims that stand in a record as such."""
    return [
        Finding(claim, labels, _model(record), record[key]["verdict"], record[key]["reason"])
        for claim, labels, key in _KEYS
        if key in record
    ]


def _interactions(record: Mapping[str, Any]) -> list[Finding]:
    """C7: of which group each class takes more, in an audit with an attribution."""
    attribution = record.get("attribution")
    if attribution is None:
        return []
    found = []
    for labels, key in _ASYMMETRIES:
        one = attribution[key]
        interval = one["interval"] or {"low": None, "high": None}
        random = one["random"]
        found.append(
            Finding(
                "C7",
                labels,
                _model(record),
                one["verdict"],
                one["reason"],
                one["value"],
                interval["low"],
                interval["high"],
                sum(random) / len(random) if random else None,
            )
        )
    return found


def _model(record: Mapping[str, Any]) -> str:
    model = record.get("model") or record.get("weights_id") or ""
    return str(model["name"]) if isinstance(model, Mapping) else str(model)
