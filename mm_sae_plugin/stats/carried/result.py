"""What is known of every latent's carried dominance, and its form as tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from jaxtyping import Bool, Float
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
    decidable: Bool[Tensor, "n_features"]
    """Whether anything can be said: the own side can be read, and the latent fires often enough
    for the other side to be heard if it had something to say."""

    def state_dict(self) -> dict[str, Tensor]:
        """Every field, by a name that can stand beside those of other tensors."""
        return {f"{_PREFIX}{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> "CarriedDominance | None":
        """Find the fields among other tensors; None where they are not."""
        names = [field.name for field in fields(cls)]
        if not all(f"{_PREFIX}{name}" in tensors for name in names):
            return None
        return cls(**{name: tensors[f"{_PREFIX}{name}"] for name in names})

    def columns(self) -> dict[str, object]:
        """Columns of the table of latents."""
        return {
            "carried": self.scores.numpy(),
            "carried_low": self.intervals[:, 0].numpy(),
            "carried_high": self.intervals[:, 1].numpy(),
            "carry": self.carry.numpy(),
        }
