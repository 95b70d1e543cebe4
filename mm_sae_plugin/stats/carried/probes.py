"""Ridge readers of a latent's code, from its own side's activations and from the other side's."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.stats.carried.groups import N_FOLDS
from mm_sae_plugin.stats.carried.moments import ProbeMoments, covariance_of

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Probes:
    """Linear readers, two for each latent; a half's readers were fitted on the other half."""

    on_image: Bool[Tensor, "n_features"]
    """Whether a latent's own side is the image: the side on which its mean code is larger."""
    threshold: Float[Tensor, "n_features"]
    """float32: a latent fires where its code exceeds this."""
    weights: dict[Modality, Float[Tensor, "folds d_and_one n_features"]]
    """float32, by the modality that is read; the target is always the code on the own side."""
    center: dict[Modality, Float[Tensor, "folds n_features"]]
    """float32: mean of what each reader says on the half that it was fitted on."""
    spread: dict[Modality, Float[Tensor, "folds n_features"]]
    """float32: standard deviation of it, above 0."""


def fit_probes(moments: ProbeMoments, ridge: float, least_code: float = 0.0) -> Probes:
    """Solve the ridge regressions.

    Parameters
    ----------
    moments : ProbeMoments
        Of a whole store.
    ridge : float
        Penalty as a share of the activations' mean variance in a dimension; the constant is free.
    least_code : float
        A firing exceeds this share of the latent's own typical code (the mean of its codes on its
        own side, weighted by themselves). An SAE that always fires equally many latents fills up
        with faint ones, which are about nothing.

    Raises
    ------
    UserError
        If the activations or codes are not finite.
    """
    for name, sums in moments.state_dict().items():
        # The readers are applied in float32, where what is larger has no place.
        if not torch.isfinite(sums.to(torch.float32)).all():
            raise UserError(
                f"Activations or codes are NaN, infinite or too large to be summed ({name}): "
                "carried dominance cannot be read from them."
            )
    on_image = moments.activity["image"] >= moments.activity["text"]
    activity, energy = (
        torch.where(on_image, sums["image"], sums["text"])
        for sums in (moments.activity, moments.energy)
    )
    threshold = least_code * energy / activity.clamp_min(1e-300)
    weights: dict[Modality, Tensor] = {}
    center: dict[Modality, Tensor] = {}
    spread: dict[Modality, Tensor] = {}
    for read in MODALITIES:
        target = torch.where(on_image, moments.cross[read, "image"], moments.cross[read, "text"])
        fitted = [
            _solved(moments.second[read][half], target[half], ridge)
            # A half is read with what the other half taught.
            for half in reversed(range(N_FOLDS))
        ]
        weights[read], center[read], spread[read] = (
            torch.stack(parts).to(torch.float32) for parts in zip(*fitted, strict=True)
        )
    return Probes(on_image, threshold.to(torch.float32), weights, center, spread)


def _solved(
    second: Float[Tensor, "d d"], cross: Float[Tensor, "d n_features"], ridge: float
) -> tuple[Float[Tensor, "d n_features"], Float[Tensor, "n_features"], Float[Tensor, "n_features"]]:
    n_rows = second[-1, -1].clamp_min(1)
    mean = second[-1, :-1] / n_rows
    rate = cross[-1] / n_rows
    shared = cross[:-1] / n_rows - torch.outer(mean, rate)
    slopes = inverse_covariance(second, ridge) @ shared
    variance = (slopes * (covariance_of(second) @ slopes)).sum(0)
    # A reader that always says the same has no spread; any will do.
    spread = torch.where(variance > 1e-30, variance.clamp_min(0).sqrt(), 1.0)
    return torch.cat([slopes, (rate - mean @ slopes)[None]]), rate, spread


def inverse_covariance(second: Float[Tensor, "d_and_one d_and_one"], ridge: float) -> Tensor:
    """Inverse of the covariance, with a penalty that is a share of the mean variance.

    Parameters
    ----------
    second : float64
        Second moments of activations and the constant 1.
    ridge : float
        The share.

    Returns
    -------
    float64, shape [d, d]
        All 0 where the activations do not vary: nothing can be read from them.
    """
    covariance = covariance_of(second)
    variance = float(covariance.diagonal().mean())
    # What rounding leaves of activations that are all alike is no variance.
    square = float(second.diagonal()[:-1].mean() / second[-1, -1].clamp_min(1))
    if variance <= _ROUNDING * square:
        return torch.zeros_like(covariance)
    return torch.linalg.inv(covariance + ridge * variance * torch.eye(len(covariance)))
