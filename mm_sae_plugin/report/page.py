"""The report: one HTML file that needs no network and no other file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_sae_plugin.files import atomic_path
from mm_sae_plugin.report.evaluation import EvaluationFigures, EvaluationLike
from mm_sae_plugin.report.pages import rendered
from mm_sae_plugin.report.results import Provenance, Results
from mm_sae_plugin.report.sections import SECTIONS, header
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.examples import TopExamples
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.truth import TruthCheck


def render_report(
    path: str | Path,
    dominance: ModalityDominance,
    *,
    facts: Mapping[str, object] | None = None,
    provenance: Provenance | None = None,
    evaluation: EvaluationLike | None = None,
    store: PairedActivations | None = None,
    examples: TopExamples | None = None,
    truth: TruthCheck | None = None,
    untrained: TruthCheck | None = None,
    skipped: Sequence[tuple[str, str]] = (),
    n_captions_cut: int = 0,
    stability: str | None = None,
    evaluated: Mapping[str, Any] | None = None,
    latents: Sequence[int] | None = None,
    title: str = "What images and captions share",
    n_per_class: int = 8,
) -> Path:
    """Write the report.

    Parameters
    ----------
    path : str or Path
        The HTML file; an older one is replaced only when the new one is complete.
    dominance : ModalityDominance
        Scores, intervals and classes.
    facts : mapping, optional
        Shown as they are under the title: model, hooks, dictionary size, …
    provenance : mapping of mappings, optional
        Shown at the end, by heading: data, encoder, training, versions, …
    evaluation : PerModalityEvaluation or mapping, optional
        Reconstruction per modality; a mapping has the keys of `summary.json`.
    store : PairedActivations, optional
        Where the images and captions of the examples come from.
    examples : TopExamples, optional
        Of at least the latents that get a card, `latents_to_show(dominance)`; those of the others
        say in the index what they are about.
    truth, untrained : TruthCheck, optional
        Truth check of this SAE and of an untrained one.
    skipped : sequence of (str, str)
        Name and reason of every image or caption that could not be used.
    n_captions_cut : int
        Captions that were longer than the model's context.
    stability : str, optional
        Whether the classes survive another seed, in a sentence beside their counts.
    evaluated : mapping, optional
        What `evaluation.json` holds: nulls, other seeds, removals, rivals and claims.
    latents : sequence of int, optional
        Show these latents instead of the strongest of each class.
    title : str
        Heading of the page.
    n_per_class : int
        Latents shown per class, 0 or more.

    Returns
    -------
    Path
        Where the report lies.

    Raises
    ------
    UserError
        If there is no such latent, or if the disk is full.
    """
    results = Results(
        dominance=dominance,
        title=title,
        facts=facts or {},
        provenance=provenance or {},
        evaluation=None if evaluation is None else EvaluationFigures.of(evaluation),
        store=store,
        examples=examples,
        truth=truth,
        untrained=untrained,
        skipped=skipped,
        n_captions_cut=n_captions_cut,
        stability=stability,
        evaluated=evaluated,
        latents=latents,
        n_per_class=n_per_class,
    )
    parts = []
    for section in SECTIONS:
        values = section.values(results)
        if values is not None:
            parts.append((section, rendered(section.template, values)))
    page = rendered("page.html", {**header(results), "parts": parts})
    path = Path(path)
    with atomic_path(path) as temporary:
        # A file name may hold bytes that are no text.
        temporary.write_text(page + "\n", encoding="utf-8", errors="replace")
    return path
