"""From a study to its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from mm_sae_plugin.report.page import render_report
from mm_sae_plugin.report.provenance import provenance
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.labelling import Findings
from mm_sae_plugin.stats.stability_note import told_of_stability
from mm_sae_plugin.study import Study


def write_report(
    study: Study,
    findings: Findings,
    out: str | Path,
    n_per_class: int = 8,
    latents: Sequence[int] | None = None,
    evaluated: Mapping[str, Any] | None = None,
) -> Path:
    """Write the self-contained HTML report and return its path.

    Raises
    ------
    UserError
        If there is no such latent, the page cannot be written there, or the disk is full.
    """
    manifest = study.store.manifest
    trained, untrained = findings.truth or (None, None)
    return render_report(
        out,
        findings.dominance,
        facts={
            "model": manifest.model_name,
            "SAE": study.sae.cfg.architecture(),
            "hooks": f"{manifest.image_hook} · {manifest.text_hook}",
        },
        provenance=provenance(study),
        evaluation=findings.evaluation,
        store=cast(PairedActivations, study.store),
        examples=findings.examples.examples(range(findings.dominance.n_features)),
        truth=trained,
        untrained=untrained,
        skipped=manifest.skipped,
        # Stores of older versions did not count them.
        n_captions_cut=getattr(manifest, "n_captions_cut", None) or 0,
        n_per_class=n_per_class,
        latents=latents,
        stability=told_of_stability(study.path, findings.dominance.classes),
        evaluated=evaluated,
    )
