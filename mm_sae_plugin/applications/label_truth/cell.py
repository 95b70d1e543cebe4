"""One dictionary of a sweep: trained, labelled, checked against the truth, and kept in a file."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mm_sae_plugin.applications.label_truth.grid import Cell
from mm_sae_plugin.files import parse_json, write_json_atomically

Record = dict[str, Any]
"""What is kept of a cell: `settings`, `rows`, `latents`, `evaluation`, `seconds`."""


@dataclass(frozen=True)
class CellWork:
    """Measures cells and keeps each in a file of its own; pickles."""

    folder: Path
    """Where the files are."""
    stores: Mapping[str, Path]
    """Folder of the activations, by model."""
    store_keys: Mapping[str, str]
    """Key of the activations, by model."""
    training_steps: int | None
    """Optimiser steps; None for the trainer's default."""

    def __call__(self, cell: Cell) -> Cell:
        """Measure a cell and keep the record; return the cell, for they end in any order."""
        write_json_atomically(self._path(cell), self._measured(cell))
        return cell

    def finished(self, cell: Cell) -> Record | None:
        """Return the record that is kept, if it was measured with the settings of this run."""
        try:
            record = parse_json(self._path(cell).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        same = isinstance(record, dict) and record.get("settings") == self._settings(cell)
        return record if same else None

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name.replace(' ', '-')}.json"

    def _settings(self, cell: Cell) -> dict[str, Any]:
        """Everything that a record depends on."""
        return {
            **asdict(cell),
            "store_key": self.store_keys[cell.model],
            "training_steps": self.training_steps,
            "version": version("mm_sae_plugin"),
        }

    def _measured(self, cell: Cell) -> Record:
        from mm_sae_plugin.activations import ActivationStore
        from mm_sae_plugin.applications.label_truth.check import (
            CONFIDENCE,
            latent_columns,
            rows_of,
            scored_latents,
        )
        from mm_sae_plugin.features import SAEFeatureMap
        from mm_sae_plugin.stats.config import ModalityConfig
        from mm_sae_plugin.stats.labelling import label_store
        from mm_sae_plugin.stats.scores import PAPER_SCORE
        from mm_sae_plugin.training import (
            MultimodalSAERunnerConfig,
            MultimodalSAETrainingRunner,
        )

        store = ActivationStore.open(self.stores[cell.model])
        training = MultimodalSAERunnerConfig(
            architecture=cell.architecture,
            d_sae=cell.d_sae,
            k=cell.k,
            seed=cell.seed,
            training_steps=self.training_steps,
        )
        started = time.perf_counter()
        result = MultimodalSAETrainingRunner(training, store).run()
        trained = time.perf_counter()
        findings = label_store(
            SAEFeatureMap(result.sae, result.normalization),
            store,
            ModalityConfig(score=PAPER_SCORE, confidence=CONFIDENCE),
        )
        assert findings.truth is not None, "FactorWorld pairs carry their labels"
        latents, scored = findings.truth[0].latents, scored_latents(findings.dominance)
        saved_as = result.sae.cfg.architecture()
        return {
            "settings": self._settings(cell),
            "seconds": {
                "train": round(trained - started, 2),
                "label": round(time.perf_counter() - trained, 2),
            },
            "evaluation": {
                "explained_variance": findings.evaluation.explained_variance,
                "l0": findings.evaluation.l0,
                "n_dead": findings.dominance.class_counts["Dead"],
            },
            "rows": [row | {"saved_as": saved_as} for row in rows_of(cell, latents, scored)],
            "latents": latent_columns(latents, scored),
        }
