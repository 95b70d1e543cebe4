"""The steps of the main job that take more than one room: label an SAE, check it, report on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.stats.config import ModalityConfig

if TYPE_CHECKING:
    from mm_sae_plugin.activations import ActivationStore
    from mm_sae_plugin.features import SAEFeatureMap
    from mm_sae_plugin.stats import ModalityDominance, TruthCheck
    from mm_sae_plugin.training import PerModalityEvaluation

# The untrained SAE of the truth check: any seed will do, but always the same one.
_UNTRAINED_SEED = 1


@dataclass(frozen=True)
class OpenedSAE:
    """An SAE folder beside the activations that it is looked at with."""

    path: Path
    """The SAE folder."""
    feature_map: "SAEFeatureMap"
    """The SAE's latents, for activations that are normalised already."""
    acts: Any
    """The store's activations, normalised as in training."""


def open_sae(sae_dir: str | Path, store: "ActivationStore") -> OpenedSAE:
    """Load an SAE folder for use on a store.

    Raises
    ------
    UserError
        If the folder holds no SAE, or if the store is of another encoder or other hooks.
    """
    from mm_sae_plugin.features import SAEFeatureMap
    from mm_sae_plugin.saes import check_encoder, load_sae

    sae, normalization = load_sae(sae_dir)
    check_encoder(sae, store)
    return OpenedSAE(Path(sae_dir), SAEFeatureMap(sae), normalization.view(store))


def label_sae(
    opened: OpenedSAE, cfg: ModalityConfig | None = None, n_workers: int = 1, progress: bool = True
) -> "ModalityDominance":
    """Score and classify every latent, and write the result into the SAE folder.

    The labels are taken twice, on the activations as they are and with each modality's mean
    removed, so that latents of the modality gap can be told from latents of content.
    """
    from mm_sae_plugin.stats import ModalityDominance, compute_modality, modality_gap_cosine

    cfg = cfg or ModalityConfig()
    stats = compute_modality(opened.feature_map, opened.acts, n_workers, progress=progress)
    centred = compute_modality(
        opened.feature_map, opened.acts, n_workers, centre=stats.mean_acts, progress=progress
    )
    dominance = (
        ModalityDominance.from_config(stats, cfg)
        .with_gap(modality_gap_cosine(opened.feature_map, stats))
        .with_centred(ModalityDominance.from_config(centred, cfg))
    )
    dominance.save(opened.path)
    return dominance


def check_truth(
    opened: OpenedSAE, dominance: "ModalityDominance"
) -> tuple["TruthCheck", "TruthCheck"] | None:
    """Compare the labels with the world's known factors, for this SAE and an untrained one.

    Returns
    -------
    The two checks, or None where the store's pairs do not come from FactorWorld.
    """
    from mm_sae_plugin.factorworld import FACTORS
    from mm_sae_plugin.features import SAEFeatureMap
    from mm_sae_plugin.saes import untrained_sae
    from mm_sae_plugin.stats import ModalityDominance, compute_modality, truth_check

    if not all(f"drawn.{name}" in opened.acts.labels for name in FACTORS):
        return None
    score = dominance.cfg.score
    trained = truth_check(
        opened.feature_map, opened.acts, dominance, FACTORS, calibration_score=score
    )
    null = SAEFeatureMap(
        untrained_sae(opened.feature_map.sae, _UNTRAINED_SEED, opened.acts.image_rows())
    )
    labelled = ModalityDominance.from_config(compute_modality(null, opened.acts), dominance.cfg)
    return trained, truth_check(null, opened.acts, labelled, FACTORS, calibration_score=score)


def evaluate_sae(opened: OpenedSAE) -> "PerModalityEvaluation":
    """Return explained variance, L0 and dead latents of each modality."""
    from mm_sae_plugin.training import evaluate_per_modality

    acts = opened.acts
    return evaluate_per_modality(opened.feature_map.sae, acts.image_rows(), acts.text_rows())
