"""Which latents are removed: modality classes, parts of them, and concepts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from mm_sae_plugin.stats.coactivation import coactivation_null
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.scores import PAPER_SCORE
from mm_sae_plugin.stats.significance import q_values

CLASSES = ("ImgD", "TextD", "CrossD")
"""The classes that are removed."""
PAPER = " (paper)"
"""Ends the name of a set by the paper's score, where the labels' own is another."""
TOGETHER, APART = "CrossD together", "CrossD apart"
"""CrossD latents whose sides fire together more often than in shuffled pairs, and the others."""
CONCEPTS = " concepts"
"""Ends the name of a class of concepts."""
LEVEL = 0.05
"""Share of the latents called together that may be so by chance (Benjamini–Hochberg)."""


@dataclass(frozen=True)
class Arm:
    """A set of latents that are removed at once."""

    name: str
    """Such as ``ImgD``, ``ImgD (paper)``, ``CrossD apart``, ``TextD concepts``."""
    score: str
    """The score that its classes come from."""
    mask: Bool[Tensor, "n_features"]
    """Its latents."""
    n_concepts: int | None = None
    """Concepts that they are, for a class of concepts; None for latents."""


def arms_of(labels: ModalityDominance) -> list[Arm]:
    """Return every set of latents of some labels, those without latents too.

    Classes by the labels' own score and by the paper's, CrossD of either split by co-activation,
    and classes of concepts, where the labels know any: all parts of a split concept, and latents
    that stand alone.
    """
    arms = _by_score(labels, "")
    if labels.carried is not None:
        arms += _of_concepts(labels)
    if labels.cfg.score != PAPER_SCORE:
        arms += _by_score(labels.by_paper_score, PAPER)
    return arms


def coactive(labels: ModalityDominance) -> Bool[Tensor, "n_features"]:
    """Say which latents alive fire on both sides together more often than in shuffled pairs.

    P-values of :func:`~mm_sae_plugin.stats.coactivation.coactivation_null`, of all latents alive by
    Benjamini and Hochberg (1995) at ``LEVEL``.
    """
    found = coactivation_null(labels.statistics).p_value
    return q_values(torch.where(labels.alive, found, torch.nan)) <= LEVEL


def _by_score(labels: ModalityDominance, suffix: str) -> list[Arm]:
    masks = {name: labels.are(name) for name in CLASSES}
    fires_together = coactive(labels)
    masks[TOGETHER] = masks["CrossD"] & fires_together
    masks[APART] = masks["CrossD"] & ~fires_together
    score = labels.cfg.score
    return [Arm(f"{name}{suffix}", score, mask) for name, mask in masks.items()]


def _of_concepts(labels: ModalityDominance) -> list[Arm]:
    classes, first = list(labels.classes), list(range(labels.n_features))
    for concept in labels.concepts.values():
        for latent in concept.latents:
            classes[latent] = labels.concept_class(concept)
            first[latent] = concept.latents[0]
    arms = []
    for name in CLASSES:
        mask = torch.tensor([one == name for one in classes])
        n_concepts = len({one for one, of in zip(first, classes, strict=True) if of == name})
        arms.append(Arm(f"{name}{CONCEPTS}", labels.cfg.score, mask, n_concepts))
    return arms
