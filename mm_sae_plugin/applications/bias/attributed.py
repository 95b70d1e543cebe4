"""What a gap comes from: modality classes, concepts and latents, with what removing them costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from mm_sae_plugin.applications.bias.asymmetry import Asymmetry, asymmetry
from mm_sae_plugin.applications.bias.attribution import SIDES, Attribution, Removed
from mm_sae_plugin.applications.bias.bench import Bench, Measured
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.matched_sets import matched_sets

CLASSES = ("ImgD", "TextD", "CrossD")
"""The classes that a gap is attributed to."""


@dataclass(frozen=True)
class ClassRow:
    """One class removed on one side, or on both."""

    removed: Removed
    """What is left of the gap, and without random sets."""
    mismatch: dict[str, float | None]
    """How far the random sets fire otherwise; None where the class does not fire at all."""
    n_by_association: int
    """Latents of the class that the other side carries by association only."""
    measured: Measured
    """The model without the class, as it is removed; not at equal |Δe|."""


@dataclass(frozen=True)
class LatentRow:
    """One latent, chosen by one half of the images and judged by the other."""

    latent: int
    """Its index."""
    taken_choosing: float
    """What of the summary goes with it, on the images that it was chosen by: of the sign of the
    whole, which it brings nearer to 0."""
    taken: float
    """The same on the others."""
    modality_class: str
    """By the labels' own score."""
    paper_class: str
    """By the paper's score."""
    by_association: bool
    """Whether the other side carries it by association only."""
    score: float | None
    """0 all text, 1 all image; None where nothing can be said."""


@dataclass(frozen=True)
class ConceptRow:
    """A latent with all that it is one concept with."""

    latents: tuple[int, ...]
    """Its latents; one where it is not split."""
    taken_choosing: float
    """What of the summary goes with it, on the images that it was chosen by."""
    taken: float
    """The same on the others."""


@dataclass(frozen=True)
class Attributed:
    """A gap, and what it comes from."""

    whole: float
    """The summary of the gaps as they are, on the testing half."""
    whole_choosing: float
    """The same on the half that latents were chosen by."""
    reconstruction_only: float
    """The same of what the SAE reconstructs, without what it misses."""
    measured: Measured
    """The model as it is."""
    classes: list[ClassRow]
    """Class by class, side by side, by the labels' own score and by the paper's."""
    latents: list[LatentRow]
    """Those that take most of the gap with them on the choosing half."""
    concepts: list[ConceptRow]
    """The concepts of these latents, strongest first."""
    asymmetry: Asymmetry
    """Whether ImgD holds the first group and TextD the second, by the labels' own score."""
    asymmetry_paper: Asymmetry
    """The same by the paper's score."""


def attribute(bench: Bench, n_random: int = 20, n_latents: int = 20, seed: int = 0) -> Attributed:
    """Attribute the gaps of a bench.

    Latents are chosen on its choosing half; all else is of the testing half. The labels are of the
    store that the SAE was trained on, and so of a third set of images.

    Parameters
    ----------
    bench : Bench
    n_random : int
        Random sets beside each class.
    n_latents : int
        How many latents are told of.
    seed : int
        Of the random sets and of resamples.
    """
    labels, found = bench.study.labels, bench.attribution
    chosen = bench.attribution_of(bench.choosing)
    latents = _latents(chosen, found, labels, n_latents)
    feature_map, testing = bench.study.feature_map, bench.testing
    return Attributed(
        found.whole,
        chosen.whole,
        found.reconstruction_only(),
        bench.measure(),
        _classes(bench, n_random, seed),
        latents,
        _concepts([row.latent for row in latents], chosen, found, labels),
        asymmetry(feature_map, labels, testing, n_random, seed),
        asymmetry(feature_map, labels.by_paper_score, testing, n_random, seed),
    )


def _classes(bench: Bench, n_random: int, seed: int) -> list[ClassRow]:
    """Remove each class on either side and on both; one without latents is left out."""
    labels, rows = bench.study.labels, []
    for labelled, suffix in ((labels, ""), (labels.by_paper_score, " (paper)")):
        for name in CLASSES:
            mask = torch.tensor([entry == name for entry in labelled.classes])
            if not mask.any():
                continue
            random = matched_sets(labels.statistics, mask, labels.alive, n_random, seed)
            edit = FeatureEdit.ablate(bench.study, mask=mask)
            rows += [
                ClassRow(
                    bench.attribution.removed(f"{name}{suffix}", mask, side, random),
                    random.told,
                    int((mask & _associated(labels)).sum()),
                    bench.measure(edit, side),
                )
                for side in SIDES
            ]
    return rows


def _latents(
    chosen: Attribution, tested: Attribution, labels: ModalityDominance, n: int
) -> list[LatentRow]:
    taken = chosen.by_latent()
    # What brings the summary nearer to 0, from whichever side.
    towards = taken * (1.0 if chosen.whole >= 0 else -1.0)
    strongest = towards.argsort(descending=True, stable=True)[:n].tolist()
    associated, paper = _associated(labels), labels.by_paper_score.classes
    return [
        LatentRow(
            latent,
            float(taken[latent]),
            tested.whole - tested.without(_mask([latent], labels)),
            labels.classes[latent],
            paper[latent],
            bool(associated[latent]),
            _number(float(labels.scores[latent])),
        )
        for latent in strongest
        if towards[latent] > 0
    ]


def _concepts(
    latents: list[int], chosen: Attribution, tested: Attribution, labels: ModalityDominance
) -> list[ConceptRow]:
    groups = []
    for latent in latents:
        concept = labels.concept_of(latent)
        groups.append((latent,) if concept is None else tuple(concept.latents))
    rows = []
    for group in dict.fromkeys(groups):
        mask = _mask(group, labels)
        taken = (one.whole - one.without(mask) for one in (chosen, tested))
        rows.append(ConceptRow(group, *taken))
    return sorted(rows, key=lambda row: -abs(row.taken_choosing))


def _mask(latents: list[int] | tuple[int, ...], labels: ModalityDominance) -> Bool[Tensor, "n"]:
    mask = torch.zeros(labels.n_features, dtype=torch.bool)
    mask[list(latents)] = True
    return mask


def _associated(labels: ModalityDominance) -> Bool[Tensor, "n_features"]:
    carried = labels.carried
    nothing = torch.zeros(labels.n_features, dtype=torch.bool)
    return nothing if carried is None else carried.associated & labels.alive


def _number(value: float) -> float | None:
    return None if value != value else value
