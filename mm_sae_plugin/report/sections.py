"""The sections of the page: to change what it shows, change this list.

A section is a template and a function that takes what the template names from the results.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mm_sae_plugin.report.borders import border_warning
from mm_sae_plugin.report.evaluated_values import evaluated_values
from mm_sae_plugin.report.figures import calibration_plot, firing_rate_scatter, score_histogram
from mm_sae_plugin.report.index import index_table
from mm_sae_plugin.report.palette import DISPLAY_ORDER
from mm_sae_plugin.report.results import Results
from mm_sae_plugin.stats.density import DENSE_RATE
from mm_sae_plugin.stats.gap_cut import GAP_CUT, points_along_gap
from mm_sae_plugin.stats.nulls import swap_null
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE, SENTENCES
from mm_sae_plugin.stats.significance import bonferroni

Values = dict[str, Any]
"""What a template names."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    anchor: str
    """Its address within the page."""
    heading: str
    """Its title."""
    template: str
    """Its file in ``templates/``."""
    values: Callable[[Results], Values | None]
    """What the template names; None leaves the section out."""


_CONTRASTS = {
    "ImgD_vs_TextD": "ImgD against TextD",
    "ImgD_vs_shared": "ImgD against shared",
    "TextD_vs_shared": "TextD against shared",
}
_TRUE_CLASSES = {
    "TextD": "more often said",
    "CrossD": "drawn and said alike",
    "ImgD": "more often drawn",
}
# Concepts that are listed.
_N_CONCEPTS = 9
_N_ASSOCIATED = 5
# Of what could not be used, so many are named.
_N_SKIPPED = 20


def header(results: Results) -> Values:
    """Title and facts that stand above all sections."""
    dominance = results.dominance
    return {
        "title": results.title,
        "facts": {
            **results.facts,
            "pairs": f"{dominance.statistics.n_pairs:,}",
            "images": f"{dominance.statistics.n_images:,}",
            "latents": f"{dominance.n_features:,}",
            "score": dominance.cfg.score,
            "rule": dominance.cfg.rule,
        },
    }


def _notes(results: Results) -> Values | None:
    """What a reader must know before trusting a number."""
    n_dense = sum(results.make_cards.dense)
    # The cards ask for the pictures, so they are made first.
    n_pictures = sum(len(card.images or ()) for cards in results.cards.values() for card in cards)
    thumbnails = results.make_cards.thumbnails
    values: Values = {
        "borders": border_warning(results.dominance),
        "n_skipped": len(results.skipped),
        "skipped": list(results.skipped)[:_N_SKIPPED],
        "n_captions_cut": results.n_captions_cut,
        "n_dense": n_dense,
        "n_latents": results.dominance.n_features,
        "dense_rate": DENSE_RATE,
        "n_missing": thumbnails.n_missing if n_pictures and results.store is not None else 0,
        "n_asked": thumbnails.n_made,
    }
    told = ("borders", "n_skipped", "n_captions_cut", "n_dense", "n_missing")
    return values if any(values[name] for name in told) else None


def _classes(results: Results) -> Values:
    """How many latents each class has."""
    counts = results.dominance.class_counts
    return {
        "counts": {name: counts[name] for name in DISPLAY_ORDER},
        "least": results.dominance.cfg.min_activations,
        "stability": results.stability,
    }


def _scores(results: Results) -> Values:
    """The distribution of the score."""
    dominance = results.dominance
    return {
        "score": dominance.cfg.score,
        "is_carried": dominance.cfg.score == CARRIED,
        "sentence": SENTENCES[dominance.cfg.score],
        "n_dead": dominance.class_counts["Dead"],
        "n_without": int((dominance.scores.isnan() & dominance.alive).sum()),
        "histogram": score_histogram(dominance),
        "narrow_histogram": score_histogram(dominance, n_bins=20, width=480),
    }


def _carried(results: Results) -> Values | None:
    """Split concepts, latents carried by association, agreement with the paper's score."""
    dominance = results.dominance
    carried = dominance.carried
    if carried is None:
        return None
    alive = dominance.alive
    # The concepts that fire most come first.
    often = dominance.n_active.to(torch.float64)
    ordered = sorted(
        dominance.concepts.values(), key=lambda concept: -float(often[list(concept.latents)].sum())
    )
    associated = (carried.associated & alive).nonzero()[:, 0]
    associated = associated[often[associated].argsort(descending=True)].tolist()
    carded = {latent for latents in results.shown.values() for latent in latents}
    return {
        "n_alive": int(alive.sum()),
        "n_split": dominance.n_split,
        "n_concepts": len(ordered),
        "n_associated": len(associated),
        "n_undecidable": dominance.n_undecidable,
        "kappa": dominance.kappa,
        "score": dominance.cfg.score,
        "is_carried": dominance.cfg.score == CARRIED,
        "carded": carded,
        "concepts": [
            (concept, dominance.concept_class(concept), results.make_cards.about(concept.latents))
            for concept in ordered[:_N_CONCEPTS]
        ],
        "associated": [
            (
                latent,
                dominance.classes[latent],
                results.make_cards.about([latent]),
                int(carried.associated_with[latent]),
            )
            for latent in associated[:_N_ASSOCIATED]
        ],
    }


def _reconstruction(results: Results) -> Values:
    """Explained variance, L0 and silent latents per modality, beside the firing rates."""
    dominance, figures = results.dominance, results.evaluation
    alive = dominance.alive
    p_values = swap_null(dominance.statistics, dominance.cfg.code_score).p_value[alive]
    lines: list[tuple[str, Mapping[str, Any], str]] = []
    if figures is not None:
        lines = [
            ("Explained variance", figures.explained_variance, ".3f"),
            ("Active latents per row (L0)", figures.l0, ".1f"),
            ("Latents that never fire", figures.n_never_firing, "d"),
        ]
    return {
        "lines": [
            (label, *(_number(by_side.get(side), form) for side in ("image", "text")))
            for label, by_side, form in lines
            if "image" in by_side or "text" in by_side
        ],
        "on_neither": None if figures is None else figures.n_never_firing.get("both"),
        "n_alive": int(alive.sum()),
        "null_score": dominance.cfg.code_score,
        "n_differ": int(bonferroni(p_values).sum()),
        "scatter": firing_rate_scatter(dominance),
    }


def _truth(results: Results) -> Values | None:
    """Ranking, labels and calibration against known factors."""
    truth, untrained = results.truth, results.untrained
    if truth is None:
        return None
    following = [entry for entry in truth.latents if entry.follows]
    counts = Counter((e.modality, results.dominance.classes[e.latent]) for e in following)
    given = [name for name in DISPLAY_ORDER if name != "Dead"]
    columns = {"this SAE": truth.contrasts}
    if truth.score == CARRIED:
        columns["paper's score"] = truth.contrasts_by_score[PAPER_SCORE]
    if untrained is not None:
        columns["untrained"] = untrained.contrasts
    return {
        "truth": truth,
        "calibration": truth.calibration,
        "n_following": len(following),
        "columns": list(columns),
        "contrasts": [
            (label, [contrasts[name] for contrasts in columns.values()])
            for name, label in _CONTRASTS.items()
        ],
        "given": given,
        "labels": [
            (label, [(counts[true, name], name == true) for name in given])
            for true, label in _TRUE_CLASSES.items()
        ],
        "plot": calibration_plot(truth.calibration),
    }


def _latents(results: Results) -> Values:
    """Cards, with what drives each latent."""
    return {
        "cards": results.cards,
        "asked": results.latents is not None,
        "confidence": results.dominance.cfg.confidence,
    }


def _index(results: Results) -> Values:
    """Every latent in one line."""
    shown = [latent for latents in results.shown.values() for latent in latents]
    return index_table(results.dominance, results.make_cards, shown)


def _method(results: Results) -> Values:
    """How the labels came about, with every number that they depend on."""
    dominance = results.dominance
    moved: Counter[tuple[str, str]] = Counter()
    if dominance.centred_classes is not None:
        raw = dominance.by_paper_score if dominance.cfg.score == CARRIED else dominance
        pairs = zip(raw.classes, dominance.centred_classes, strict=True)
        moved = Counter((before, after) for before, after in pairs if before != after)
    gap = dominance.gap_cosine
    return {
        "cfg": dominance.cfg,
        "is_carried": dominance.cfg.score == CARRIED,
        "low": dominance.low,
        "high": dominance.high,
        "has_borders": dominance.low == dominance.low,
        "n_pairs": dominance.statistics.n_pairs,
        "n_images": dominance.statistics.n_images,
        "n_latents": dominance.n_features,
        "n_along_gap": None if gap is None else int(points_along_gap(gap).sum()),
        "gap_cut": GAP_CUT,
        "is_centred": dominance.centred_classes is not None,
        "n_moved": sum(moved.values()),
        "moved": moved.most_common(4),
    }


def _provenance(results: Results) -> Values | None:
    """Where data, SAE and page come from."""
    return {"groups": results.provenance} if results.provenance else None


SECTIONS = (
    Section("notes", "Before you read on", "notes.html", _notes),
    Section("classes", "The latents by modality", "classes.html", _classes),
    Section("scores", "How image-dominant is each latent?", "scores.html", _scores),
    Section("carried", "Halves of one concept", "carried.html", _carried),
    Section("reconstruction", "Behind the scores", "reconstruction.html", _reconstruction),
    Section("truth", "Against the known truth", "truth.html", _truth),
    Section("evaluated", "Can the labels be believed?", "evaluated.html", evaluated_values),
    Section("latents", "Latents one by one", "latents.html", _latents),
    Section("index", "Index of all latents", "index.html", _index),
    Section("method", "How this was computed", "method.html", _method),
    Section("provenance", "Where this comes from", "provenance.html", _provenance),
)
"""In the order of the page."""


def _number(value: float | int | None, form: str) -> str:
    return "–" if value is None or value != value else f"{value:{form}}"
