"""One part of an evaluation, measured in a process of its own and kept in files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.evaluation.config import EvaluateConfig
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path, parse_json, write_json_atomically

if TYPE_CHECKING:
    import pandas as pd

KEPT = "parts"
"""Folder of what is finished, in that of the evaluation."""
_SUBJECT = ("sae_id", "store_key", "labels_id", "version")


@dataclass(frozen=True)
class PartWork:
    """Measures parts, and keeps each as two files; pickles."""

    cfg: EvaluateConfig
    sae_id: str
    """Of the SAE that is evaluated."""
    store_key: str
    """Of its activations."""
    labels_id: str
    """Of its labels."""

    def __call__(self, name: str) -> str:
        """Measure a part and keep it; return its name, for parts end in any order.

        A part that cannot be measured keeps the sentence that says why.
        """
        import pandas as pd

        from mm_sae_plugin.applications.evaluation.parts import PART_OF, Measured
        from mm_sae_plugin.study import Study

        started, why = time.perf_counter(), None
        study = Study.open(self.cfg.sae, self.cfg.acts)
        try:
            found = PART_OF[name](study, self.cfg)
        except UserError as error:
            found, why = Measured({}), str(error)
        columns = pd.DataFrame(dict(found.columns))
        with atomic_path(self._columns(name)) as temporary:
            columns.to_parquet(temporary)
        # Last, since a part counts as finished where it is there.
        record = {
            "settings": self._settings(name),
            "seconds": round(time.perf_counter() - started, 1),
            "not_measured": why,
            "record": found.record,
            "claims": found.claims,
        }
        write_json_atomically(self._record(name), record)
        return name

    def finished(self, name: str) -> dict[str, Any] | None:
        """Return what is kept of a part, if it was measured with the settings of this run."""
        kept = self._measured(name)
        return kept if kept is not None and kept["settings"] == self._settings(name) else None

    def stands(self, name: str) -> bool:
        """Whether an earlier run measured a part of the same SAE with the same labels."""
        kept = self._measured(name)
        if kept is None:
            return False
        mine, theirs = self._settings(name), kept["settings"]
        return all(mine[key] == theirs.get(key) for key in _SUBJECT)

    def kept(self, name: str) -> dict[str, Any]:
        """Return what was kept of a part, measured or not."""
        return parse_json(self._record(name).read_text(encoding="utf-8"))

    def columns(self, name: str) -> pd.DataFrame:
        """Return what a part says of every latent; no columns where it says nothing."""
        import pandas as pd

        return pd.read_parquet(self._columns(name))

    def _measured(self, name: str) -> dict[str, Any] | None:
        """What is kept of a part that could be measured; None too for a damaged file."""
        try:
            kept = self.kept(name)
        except (OSError, ValueError):
            return None
        # What could not be measured is tried again: a missing file may be there now.
        is_whole = isinstance(kept, dict) and isinstance(kept.get("settings"), dict)
        return kept if is_whole and kept["not_measured"] is None else None

    def _record(self, name: str) -> Path:
        return self.cfg.out / KEPT / f"{name}.json"

    def _columns(self, name: str) -> Path:
        return self.cfg.out / KEPT / f"{name}.parquet"

    def _settings(self, name: str) -> dict[str, Any]:
        """Everything that a part depends on."""
        rivals = {}
        if name == "monosemanticity":
            rivals = {
                "against": list(self.cfg.against),
                "beside": self.cfg.beside,
                "image_encoder": self.cfg.image_encoder,
            }
        return {
            **rivals,
            "full": self.cfg.full,
            "seed": self.cfg.seed,
            "sae_id": self.sae_id,
            "store_key": self.store_key,
            "labels_id": self.labels_id,
            "version": version("mm_sae_plugin"),
        }
