"""Which latents are removed: modality classes, parts of them, and concepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.nulls import coactivation_lift
from mm_sae_plugin.stats.scores import PAPER_SCORE

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

    The joint firings are compared with the binomial of as many pairs as there are images (captions
    of one image are not independent) and the product of both rates; p-values of all latents alive
    by Benjamini and Hochberg (1995) at ``LEVEL``.
    """
    from scipy.stats import binom, false_discovery_control

    stats, alive = labels.statistics, labels.alive
    together = torch.zeros(labels.n_features, dtype=torch.bool)
    if not alive.any():
        return together
    image, text = (side[alive].numpy() for side in stats.sides("frequency"))
    both = stats.channel("fires_both")[alive].numpy()
    n_pairs, n_images = stats.n_pairs, stats.n_images
    joint = np.floor(both * n_images / n_pairs)
    p_values = binom.sf(joint - 1, n_images, image * text / n_pairs**2)
    told = torch.from_numpy(false_discovery_control(p_values) <= LEVEL)
    together[alive] = told & (coactivation_lift(stats)[alive] > 1)
    return together


def _by_score(labels: ModalityDominance, suffix: str) -> list[Arm]:
    masks = {name: torch.tensor([one == name for one in labels.classes]) for name in CLASSES}
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
