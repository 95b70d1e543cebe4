"""Train an SAE on paired atoms, and hold its latents' scores against the known rates."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.factorworld.truth import Rates
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.stats.auroc import auroc
from mm_sae_plugin.stats.carried.score import carried_dominance
from mm_sae_plugin.stats.compute import compute_modality
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.truth import LatentTruth, truth_check
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.stats.fakes import FakeStore

# A latent follows the concept that explains at least this share of its variance.
MIN_ETA2 = 0.5
TOLERANCE = 0.07

Scored = tuple[Float[Tensor, "n_features"], Float[Tensor, "n_features 2"]]
"""Scores of all latents, NaN where there is none, and their intervals."""


def train(store: FakeStore, cfg: MultimodalSAERunnerConfig) -> SAEFeatureMap:
    """Train with the runner that users have."""
    runner = MultimodalSAETrainingRunner(cfg, acts_image=store.images, acts_text=store.texts)
    result = runner.run()
    return SAEFeatureMap(result.sae, result.normalization)


def label(feature_map: FeatureMap, store: FakeStore) -> tuple[ModalityDominance, dict[str, Scored]]:
    """The paper's score and carried dominance, by name."""
    paper = ModalityDominance.from_statistics(compute_modality(feature_map, store))
    carried = carried_dominance(feature_map, store)
    return paper, {
        "mean_of_ratios": (paper.scores, paper.intervals),
        "carried": (carried.scores, carried.intervals),
    }


def latents_that_follow(
    feature_map: FeatureMap,
    store: FakeStore,
    paper: ModalityDominance,
    rates: Mapping[str, Rates],
) -> list[LatentTruth]:
    """Every latent that follows a concept on its own side, with the concept's true dominance."""
    check = truth_check(feature_map, store, paper, rates, MIN_ETA2)
    return [entry for entry in check.latents if entry.follows]


def split_concepts(follow: list[LatentTruth]) -> dict[str, tuple[list[int], list[int]]]:
    """Concepts that one latent follows on images and another on captions: both sides' latents."""
    sides = {
        concept: tuple(
            [entry.latent for entry in follow if (entry.factor, entry.side) == (concept, side)]
            for side in ("image", "text")
        )
        for concept in {entry.factor for entry in follow}
    }
    return {concept: (image, text) for concept, (image, text) in sides.items() if image and text}


@dataclass(frozen=True)
class Agreement:
    """How one score agrees with the truth."""

    auroc: dict[str, float | None]
    """Of each contrast, among latents that have a score; 1 is perfect order, 1/2 is chance."""
    n: dict[str, int]
    """Latents that have a score, by the true class of what they follow."""
    n_undecidable: int
    """Latents that follow a concept and have no score."""
    within: float
    """Share of all latents that follow a concept whose score lies within `TOLERANCE` of its true
    dominance; one that has no score does not."""
    coverage: float
    """Share of the intervals of those with a score that hold the true dominance."""


def agreement(follow: list[LatentTruth], scored: Scored) -> Agreement:
    """Hold the scores of latents against what they follow."""
    scores, intervals = scored
    has_score = [entry for entry in follow if not scores[entry.latent].isnan()]
    latents = torch.tensor([entry.latent for entry in has_score], dtype=torch.int64)
    truth = torch.tensor([entry.dominance for entry in has_score], dtype=torch.float64)
    found, (low, high) = scores[latents], intervals[latents].T
    groups = {
        modality: np.array(
            [float(scores[entry.latent]) for entry in has_score if entry.modality == modality]
        )
        for modality in ("ImgD", "CrossD", "TextD")
    }
    # Of rounding, at the very ends of [0, 1].
    held = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
    return Agreement(
        auroc={
            "ImgD_vs_TextD": auroc(groups["ImgD"], groups["TextD"]).value,
            "ImgD_vs_shared": auroc(groups["ImgD"], groups["CrossD"]).value,
            # Text is at the low end, so that the right order is again 1.
            "TextD_vs_shared": auroc(-groups["TextD"], -groups["CrossD"]).value,
        },
        n={modality: len(values) for modality, values in groups.items()},
        n_undecidable=len(follow) - len(has_score),
        within=float(((found - truth).abs() <= TOLERANCE).sum()) / max(len(follow), 1),
        coverage=float(held.to(torch.float64).mean()),
    )
