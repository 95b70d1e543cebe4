"""Evaluation of an SAE on activations, after and during a training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from sae_lens import SAE
from sae_lens.training.activation_scaler import ActivationScaler
from torch import Tensor

from mm_sae_plugin.features.dense import dense_codes
from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.saes.normalization import ModalityNormalization, Rows
from mm_sae_plugin.stats.reconstruction import (
    PerModalityEvaluation,
    ReconstructionSums,
    evaluation_of,
)
from mm_sae_plugin.training.distributed import Processes

_CHUNK_ELEMENTS = 2**22


@torch.no_grad()
def evaluate_per_modality(
    sae: SAE[Any],
    acts_image: Float[Tensor, "n_images d_in"] | Rows | None,
    acts_text: Float[Tensor, "n_pairs d_in"] | Rows | None = None,
    normalization: ModalityNormalization | None = None,
    scaler: ActivationScaler | None = None,
    processes: Processes | None = None,
) -> PerModalityEvaluation:
    """Evaluate an SAE on each modality by itself.

    Parameters
    ----------
    sae : SAE
        Inference or training SAE.
    acts_image, acts_text : Float[Tensor, "n d_in"] or Rows, optional
        Activations as they were stored, in memory or not; a missing side is left out of the
        result.
    normalization : ModalityNormalization, optional
        The one the SAE was trained behind.
    scaler : ActivationScaler, optional
        The trainer's, while it is still training.
    processes : Processes, optional
        Those that evaluate together, a part of the rows each; all have the result.

    Returns
    -------
    PerModalityEvaluation
        Sums are taken in float64.
    """
    normalization = normalization or ModalityNormalization.identity(sae.cfg.d_in)
    sides: dict[Modality, ReconstructionSums] = {}
    # Chunk by chunk, so that a large store is never in memory twice.
    size = max(1, _CHUNK_ELEMENTS // sae.cfg.d_sae)
    for modality, acts in zip(MODALITIES, (acts_image, acts_text), strict=True):
        if acts is None:
            continue
        sums = sides[modality] = ReconstructionSums()
        for number, part in enumerate(acts.split(size)):
            # Several processes take turns.
            if processes is not None and number % processes.n != processes.rank:
                continue
            given = normalization.apply(part.to(sae.device), modality)
            given = given if scaler is None else scaler(given)
            codes = dense_codes(sae.encode(given))
            sums.update(given, codes, sae.decode(codes))
    if processes is not None:
        sides = _added(processes.gather(sides))
    return evaluation_of(sides)


def _added(
    parts: Sequence[Mapping[Modality, ReconstructionSums]],
) -> dict[Modality, ReconstructionSums]:
    total: dict[Modality, ReconstructionSums] = {side: ReconstructionSums() for side in parts[0]}
    for part in parts:
        for modality, sums in part.items():
            total[modality].merge(sums)
    return total


class PerModalityEvaluator:
    """The *Evaluator* of a SAELens trainer: the same figures in wandb while it trains.

    Parameters
    ----------
    acts_image, acts_text : Float[Tensor, "n d_in"], optional
        Rows to evaluate on, normalised as the trainer's batches are.
    """

    def __init__(self, acts_image: Tensor | None, acts_text: Tensor | None) -> None:
        self.acts_image = acts_image
        self.acts_text = acts_text

    def __call__(
        self, sae: Any, data_provider: Any, activation_scaler: ActivationScaler
    ) -> dict[str, Any]:
        """Return flat metrics; the provider is left where it is, so that runs stay repeatable."""
        evaluation = evaluate_per_modality(
            sae, self.acts_image, self.acts_text, scaler=activation_scaler
        )
        return dict(evaluation.metrics())
