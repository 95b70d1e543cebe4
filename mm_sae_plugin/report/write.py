"""From a study to its page."""

from pathlib import Path
from typing import cast

from mm_sae_plugin.report.page import latents_to_show, render_report
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.labelling import Findings
from mm_sae_plugin.study import Study


def write_report(study: Study, findings: Findings, out: str | Path, n_per_class: int = 8) -> Path:
    """Write the self-contained HTML report and return its path."""
    shown = latents_to_show(findings.dominance, n_per_class)
    latents = [latent for members in shown.values() for latent in members]
    manifest = study.store.manifest
    facts = {
        "model": manifest.model_name,
        "SAE": study.sae.cfg.architecture(),
        "hooks": f"{manifest.image_hook} · {manifest.text_hook}",
    }
    trained, untrained = findings.truth or (None, None)
    return render_report(
        out,
        findings.dominance,
        facts=facts,
        evaluation=findings.evaluation,
        store=cast(PairedActivations, study.store),
        examples=findings.examples.examples(latents),
        truth=trained,
        untrained=untrained,
        n_per_class=n_per_class,
    )
