"""What is known of every latent's carried dominance, and its form as tensors."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_PREFIX = "carried."


@dataclass(frozen=True)
class CarriedDominance:
    """Carried dominance of all latents."""

    scores: Float[Tensor, "n_features"]
    """float64: 0 all text, 1 all image; NaN where undecidable."""
    intervals: Float[Tensor, "n_features 2"]
    """float64: low and high end at the confidence asked for, clustered by image."""
    on_image: Bool[Tensor, "n_features"]
    """Whether the own side, on which the mean code is larger, is the image."""
    carry: Float[Tensor, "n_features"]
    """float64, 0 to 1: how much of what makes the latent fire the other side carries."""
    read_own: Float[Tensor, "n_features"]
    """float64, 0 to 1: share of the firing's variance that the own side's reading explains."""
    heard: Bool[Tensor, "n_features"]
    """Whether the other side's reading beats what unrelated pairs would give."""
    associated: Bool[Tensor, "n_features"]
    """Whether what the other side says only goes with the latent: carried by association."""
    associated_with: Int[Tensor, "n_features"]
    """int64: the latent of the own side that it is about; -1 where none stands out, or not so."""
    direct: Float[Tensor, "n_features"]
    """float64, about 0 to 1: share of what the own side knows of the other side's reading that the
    latent itself explains."""
    partner: Int[Tensor, "n_features"]
    """int64: the latent that fires for the same on the other side; -1 where there is none."""
    partner_correlation: Float[Tensor, "n_features"]
    """float64: of the firings of both over pairs; 0 where there is no partner."""
    partner_cosine: Float[Tensor, "n_features"]
    """float64, −1 to 1: of the two decoder directions; NaN where there is no partner, or no
    decoder."""
    concept: Int[Tensor, "n_features"]
    """int64: smallest of the latents that are connected as partners; its own number for a latent
    that stands alone."""
    decidable: Bool[Tensor, "n_features"]
    """Whether anything can be said: the own side can be read, and the latent fires often enough
    for the other side to be heard if it had something to say."""
    signal: Float[Tensor, "n_features"] | None = None
    """float64: correlation of the firing with the other side's reading, in standard errors of that
    of unrelated pairs; None in labels of older versions."""

    @property
    def p_value(self) -> Float[Tensor, "n_features"] | None:
        """float64: probability that the other side's reading goes with the firing as well or better
        in unrelated pairs, one-sided; None where `signal` is.
        """
        return None if self.signal is None else torch.special.ndtr(-self.signal)

    def state_dict(self) -> dict[str, Tensor]:
        """Every field, by a name that can stand beside those of other tensors."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f"{_PREFIX}{name}": t for name, t in known.items() if t is not None}

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> "CarriedDominance | None":
        """Find the fields among other tensors; None where they are not."""
        names = [field.name for field in fields(cls)]
        known = {n: tensors[f"{_PREFIX}{n}"] for n in names if f"{_PREFIX}{n}" in tensors}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        return cls(**known) if needed <= known.keys() else None

    def columns(self) -> dict[str, object]:
        """Columns of the table of latents; what is not known is missing there."""
        import numpy as np

        has_partner = (self.partner >= 0).numpy()
        return {
            "carried": self.scores.numpy(),
            "carried_low": self.intervals[:, 0].numpy(),
            "carried_high": self.intervals[:, 1].numpy(),
            "carry": np.where(self.decidable.numpy(), self.carry.numpy(), np.nan),
            "partner": _latents(self.partner),
            "partner_correlation": np.where(has_partner, self.partner_correlation.numpy(), np.nan),
            "partner_cosine": self.partner_cosine.numpy(),
            "concept": self.concept.numpy(),
            "by_association": self.associated.numpy(),
            "associated_with": _latents(self.associated_with),
        }


def _latents(latents: Int[Tensor, "n_features"]) -> object:
    """Whole numbers of which some are missing."""
    import pandas as pd

    return pd.arrays.IntegerArray(latents.numpy().copy(), (latents < 0).numpy())
