"""Another SAE on the same activations, labelled by the same rule, its latents matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from mm_sae_plugin.applications.evaluation.stability_config import StabilityConfig
from mm_sae_plugin.applications.evaluation.survival import ClassSurvival, class_survival
from mm_sae_plugin.engines import Engine
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.feature_matching import FeatureMatching, match_features
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.labelling import label_features
from mm_sae_plugin.study import Study
from mm_sae_plugin.training import TrainingResult


@dataclass(frozen=True)
class Counterpart:
    """What another SAE makes of the same activations."""

    labels: ModalityDominance
    """Of its latents, by the rule of the study's labels."""
    matching: FeatureMatching
    """A latent of it for each of the SAE that is studied."""
    survival: ClassSurvival
    """What became of the classes."""


def counterpart(
    study: Study, trained: TrainingResult, cfg: StabilityConfig, engine: Engine | None = None
) -> Counterpart:
    """Label another SAE as the study is labelled, and ask which classes survive in it.

    Parameters
    ----------
    study : Study
        The SAE that is studied, labelled.
    trained : TrainingResult
        The other SAE, of the same activations.
    cfg : StabilityConfig
        How near matched latents must be, and how chance is drawn.
    engine : Engine, optional
        Where the passes run.
    """
    labels, other = study.labels, SAEFeatureMap(trained.sae, trained.normalization)
    others = label_features(other, cast(PairedActivations, study.store), labels.cfg, engine)
    matching = match_features(
        study.feature_map.directions, other.directions, labels.alive, others.alive
    )
    survival = class_survival(
        labels.classes,
        others.classes,
        matching,
        cfg.min_cosine,
        cfg.n_shuffles,
        cfg.confidence,
        cfg.seed,
    )
    return Counterpart(others, matching, survival)
