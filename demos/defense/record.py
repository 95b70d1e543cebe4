"""The evaluation that the page shows: a ``robustness.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mm_sae_plugin
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.models import HookedCLIP

SHIPPED_RECORD = Path(mm_sae_plugin.__file__).parent / "factorworld/weights/robustness.json"
"""The evaluation of the embedded encoder and its defenses."""
_NEEDED = ("arms", "self_tests", "claim_c5", "settings")
_OF_ARM = ("name", "kind", "seed", "task", "n", "clean", "static", "adaptive", "wilson", "sweep")


def read_record(path: Path) -> Mapping[str, Any]:
    """Read what an evaluation wrote.

    Raises
    ------
    UserError
        If it cannot be read, or is no evaluation.
    """
    remedy = "give a robustness.json as `mm-sae robustness` writes it"
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): {remedy}.") from error
    for name in _NEEDED:
        if not isinstance(record, dict) or name not in record:
            raise UserError(f"{path} has no {name!r}: {remedy}.")
    if not record["arms"]:
        raise UserError(f"{path} has no arms: {remedy}.")
    for row in record["arms"]:
        missing = [name for name in _OF_ARM if name not in row]
        if missing:
            raise UserError(f"{path} has an arm without {missing[0]!r}: {remedy}.")
    return record


def shipped_record(model: HookedCLIP) -> Mapping[str, Any] | None:
    """Return the shipped evaluation, if it is of this encoder."""
    record = read_record(SHIPPED_RECORD)
    return record if model.has_weights(record["weights_id"]) else None
