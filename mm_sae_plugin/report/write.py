"""From an opened SAE to its page."""

from pathlib import Path

from mm_sae_plugin.report.page import latents_to_show, render_report
from mm_sae_plugin.stats import ModalityDominance, TruthCheck, top_examples
from mm_sae_plugin.study import OpenedSAE
from mm_sae_plugin.training import PerModalityEvaluation


def write_report(
    opened: OpenedSAE,
    dominance: ModalityDominance,
    out: str | Path,
    truth: tuple[TruthCheck, TruthCheck] | None,
    evaluation: PerModalityEvaluation,
    n_per_class: int = 8,
) -> Path:
    """Write the self-contained HTML report and return its path."""
    shown = latents_to_show(dominance, n_per_class)
    latents = [latent for members in shown.values() for latent in members]
    manifest = opened.acts.manifest
    facts = {
        "model": manifest.model_name,
        "SAE": opened.feature_map.sae.cfg.architecture(),
        "hooks": f"{manifest.image_hook} · {manifest.text_hook}",
    }
    return render_report(
        out,
        dominance,
        facts=facts,
        evaluation=evaluation,
        store=opened.acts,
        examples=top_examples(opened.feature_map, opened.acts, latents),
        truth=truth[0] if truth else None,
        untrained=truth[1] if truth else None,
        n_per_class=n_per_class,
    )
