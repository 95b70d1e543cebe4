"""The report: one HTML file that needs no network, no script and no other file."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from mm_sae_plugin.files import atomic_path
from mm_sae_plugin.report.evaluation import EvaluationFigures, EvaluationLike
from mm_sae_plugin.report.latent_cards import LatentCards
from mm_sae_plugin.report.palette import STYLE
from mm_sae_plugin.report.sections import (
    classes_section,
    latents_section,
    method_section,
    reconstruction_section,
    scores_section,
    truth_section,
)
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.examples import TopExamples
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.truth import TruthCheck

SHOWN_CLASSES = ("ImgD", "TextD", "CrossD", "Undetermined")


def latents_to_show(dominance: ModalityDominance, n_per_class: int = 8) -> dict[str, list[int]]:
    """The strongest latents of each class that has something to show.

    Returns
    -------
    dict
        Class to latents, best first. `Undetermined` is left out when it is empty, since the paper
        rule never gives it.
    """
    chosen = {name: dominance.strongest(name, n_per_class) for name in SHOWN_CLASSES}
    if not chosen["Undetermined"]:
        del chosen["Undetermined"]
    return chosen


def render_report(
    path: str | Path,
    dominance: ModalityDominance,
    *,
    facts: Mapping[str, object] | None = None,
    evaluation: EvaluationLike | None = None,
    store: PairedActivations | None = None,
    examples: TopExamples | None = None,
    truth: TruthCheck | None = None,
    untrained: TruthCheck | None = None,
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
    evaluation : PerModalityEvaluation or mapping, optional
        Reconstruction per modality; a mapping has the keys of `summary.json`.
    store : PairedActivations, optional
        Where the images and captions of the examples come from.
    examples : TopExamples, optional
        `top_examples(feature_map, store, [all latents of latents_to_show(dominance)])`.
    truth, untrained : TruthCheck, optional
        Truth check of this SAE and of an untrained one.
    title : str
        Heading of the page.
    n_per_class : int
        Latents shown per class.

    Returns
    -------
    Path
        Where the report lies.

    Raises
    ------
    UserError
        If the disk is full.
    """
    figures = None if evaluation is None else EvaluationFigures.of(evaluation)
    cards = LatentCards(dominance, examples, store, truth)
    body = [
        _header(title, dominance, facts or {}),
        classes_section(dominance),
        scores_section(dominance),
        reconstruction_section(dominance, figures),
        "" if truth is None else truth_section(dominance, truth, untrained),
        latents_section(dominance, cards, latents_to_show(dominance, n_per_class)),
        method_section(dominance),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _header(title: str, dominance: ModalityDominance, facts: Mapping[str, object]) -> str:
    stats = dominance.statistics
    shown = {
        **facts,
        "pairs": f"{stats.n_pairs:,}",
        "images": f"{stats.n_images:,}",
        "latents": f"{dominance.n_features:,}",
        "score": dominance.cfg.score,
        "rule": dominance.cfg.rule,
    }
    items = "".join(
        f"<li><b>{escape(str(name))}</b>{escape(str(value))}</li>" for name, value in shown.items()
    )
    return (
        f'<h1>{escape(title)}</h1><p class="lead">A model that sees images and reads text was '
        "taken apart into <em>latents</em>, directions that each stand for something. This page "
        "says for every latent whether it speaks about images, about captions, or about both.</p>"
        f'<ul class="facts">{items}</ul>'
    )
