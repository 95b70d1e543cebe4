"""Results that were found already, so that an evaluation that broke off goes on, or grows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from mm_sae_plugin.applications.defense.contenders import Contender
from mm_sae_plugin.applications.defense.measuring import Posed, TaskResult
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig

KEPT = "results.jsonl"


class KeptResults:
    """A file of results, one a line, each under what it was measured of and how.

    Parameters
    ----------
    path : Path
        Is made with the first result; lines that are none, such as one that was cut off, are
        passed over.
    cfg : RobustnessConfig
    sae_id : str, optional
        Of the SAE that changes vectors and whose latents are attacked.
    """

    def __init__(self, path: Path, cfg: RobustnessConfig, sae_id: str | None) -> None:
        self._path, self._settings = path, {**asdict(cfg), "sae_id": sae_id}
        self._known = _read(path)
        self._lock = Lock()

    def find(self, contender: Contender, posed: Posed, is_strong: bool) -> TaskResult | None:
        """Return the result of the same attacks on the same thing; None where there is none."""
        found = self._known.get(self._key(contender, posed, is_strong))
        return None if found is None else TaskResult(**found)

    def keep(self, contender: Contender, posed: Posed, is_strong: bool, result: TaskResult) -> None:
        """Write a result down; may be called by several threads."""
        line = {"key": self._key(contender, posed, is_strong), "result": asdict(result)}
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                # A line of its own, even behind one that was cut off.
                file.write(f"\n{json.dumps(line)}\n")

    def _key(self, contender: Contender, posed: Posed, is_strong: bool) -> str:
        of = {
            "contender": [contender.name, contender.kind, contender.seed],
            "weights_id": contender.model.weights_id,
            "task": posed.fingerprint,
            "is_strong": is_strong,
            **self._settings,
        }
        return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Mapping[str, Any]]:
    known = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            entry = json.loads(line)
            known[entry["key"]] = entry["result"]
        except (ValueError, KeyError, TypeError):
            continue
    return known
