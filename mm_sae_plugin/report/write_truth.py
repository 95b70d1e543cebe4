"""The figure of a sweep, as a file."""

from pathlib import Path

from mm_sae_plugin.applications.label_truth.check import MIN_ETA2, TOLERANCE
from mm_sae_plugin.applications.label_truth.grid import MODELS
from mm_sae_plugin.applications.label_truth.sweep import Sweep
from mm_sae_plugin.files import atomic_path
from mm_sae_plugin.report.truth_figure import TruthPanel, truth_figure


def write_truth_figure(sweep: Sweep, path: str | Path) -> Path:
    """Draw the TopK dictionaries of the first model, one panel a size, all seeds together.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    groups: dict[tuple[int, int], list[dict]] = {}
    for cell, record in sweep.records.items():
        if cell.model == MODELS[0] and cell.is_usual_topk:
            groups.setdefault((cell.d_sae, cell.k), []).append(record)
    panels = [
        TruthPanel(
            d_sae,
            k,
            [row for record in records for row in record["rows"]],
            [record["latents"] for record in records],
        )
        for (d_sae, k), records in sorted(groups.items())
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(truth_figure(panels, TOLERANCE, MIN_ETA2), encoding="utf-8")
    return Path(path)
