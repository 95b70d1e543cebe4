"""Explained variance, L0 and dead latents, each modality for itself.

SAELens' evaluator runs only while wandb does and knows one kind of row. A shared dictionary that
explains captions well and images badly looks fine on average, so the two are never mixed here.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from sae_lens import SAE
from sae_lens.training.activation_scaler import ActivationScaler
from torch import Tensor

from mm_sae_plugin.saes.normalization import MODALITIES, ModalityNormalization

_CHUNK_ELEMENTS = 2**22


@dataclass(frozen=True)
class PerModalityEvaluation:
    """What an SAE does on each modality; dicts are keyed ``"image"`` and ``"text"``."""

    explained_variance: dict[str, float]
    """1 - squared error / squared distance from the modality's own mean; at most 1."""
    l0: dict[str, float]
    """Mean number of active latents per row."""
    n_dead_by_modality: dict[str, int]
    """Latents that fire on no row of the modality."""
    n_dead: int
    """Latents that fire on no row at all."""
    n_rows: dict[str, int]
    """Rows evaluated."""
    d_sae: int
    """Latents of the SAE."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def metrics(self) -> dict[str, float]:
        """Return flat names for a logger, such as ``metrics/image/explained_variance``."""
        flat: dict[str, float] = {"sparsity/dead_on_every_modality": self.n_dead}
        for modality in self.n_rows:
            flat[f"metrics/{modality}/explained_variance"] = self.explained_variance[modality]
            flat[f"metrics/{modality}/l0"] = self.l0[modality]
            flat[f"sparsity/{modality}/dead_features"] = self.n_dead_by_modality[modality]
        return flat


def evaluate_per_modality(
    sae: SAE[Any],
    acts_image: Float[Tensor, "n_images d_in"] | None,
    acts_text: Float[Tensor, "n_pairs d_in"] | None = None,
    normalization: ModalityNormalization | None = None,
    scaler: ActivationScaler | None = None,
) -> PerModalityEvaluation:
    """Evaluate an SAE on each modality by itself.

    Parameters
    ----------
    sae : SAE
        Inference or training SAE.
    acts_image, acts_text : Float[Tensor, "n d_in"], optional
        Activations as they were stored; a missing side is left out of the result.
    normalization : ModalityNormalization, optional
        The one the SAE was trained behind.
    scaler : ActivationScaler, optional
        The trainer's, while it is still training.

    Returns
    -------
    PerModalityEvaluation
        Sums are taken in float64.
    """
    normalization = normalization or ModalityNormalization.identity(sae.cfg.d_in)
    explained, l0, dead, n_rows = {}, {}, {}, {}
    fired_any = torch.zeros(sae.cfg.d_sae, dtype=torch.bool)
    for modality, acts in zip(MODALITIES, (acts_image, acts_text), strict=True):
        if acts is None:
            continue
        normalized = _Lazily(acts, normalization, modality, scaler, sae.device)
        explained[modality], l0[modality], fired = _evaluate(sae, normalized)
        dead[modality] = int((~fired).sum())
        n_rows[modality] = len(acts)
        fired_any |= fired
    return PerModalityEvaluation(
        explained, l0, dead, int((~fired_any).sum()), n_rows, sae.cfg.d_sae
    )


class _Lazily:
    """Rows normalised chunk by chunk, so that a large store is never in memory twice."""

    def __init__(self, acts: Tensor, normalization: Any, modality: Any, scaler: Any, device: Any):
        self.acts, self.device = acts, device
        self.normalization, self.modality, self.scaler = normalization, modality, scaler

    def chunks(self, n_rows: int):
        for part in self.acts.split(n_rows):
            part = self.normalization.apply(part.to(self.device), self.modality)
            yield part if self.scaler is None else self.scaler(part)


@torch.no_grad()
def _evaluate(sae: SAE[Any], rows: _Lazily) -> tuple[float, float, Bool[Tensor, "d_sae"]]:
    size = max(1, _CHUNK_ELEMENTS // sae.cfg.d_sae)
    n_rows = len(rows.acts)
    total = sum(part.sum(dim=0, dtype=torch.float64) for part in rows.chunks(size))
    mean = total / n_rows
    error = variance = n_active = 0.0
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool, device=sae.device)
    for part in rows.chunks(size):
        codes = sae.encode(part)
        codes = codes.to_dense() if codes.is_sparse else codes
        residual = (sae.decode(codes) - part).double()
        # A slot that TopK filled with zero is not a firing.
        active = codes != 0
        error += float(residual.square().sum())
        variance += float((part.double() - mean).square().sum())
        n_active += float(active.sum())
        fired |= active.any(dim=0)
    explained = 1.0 - error / variance if variance > 0 else float("nan")
    return explained, n_active / n_rows, fired.cpu()


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
