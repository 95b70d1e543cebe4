"""The dimensions of the embedding themselves as features: the baseline without a dictionary."""

import torch
from jaxtyping import Float
from torch import Tensor


class RawDimensions:
    """The baseline without a dictionary: each dimension's positive and negative part.

    Parameters
    ----------
    d_in : int
        Width of the activations; there are ``2 * d_in`` features, positive parts first.
    """

    def __init__(self, d_in: int) -> None:
        self.d_in = d_in

    @property
    def n_features(self) -> int:
        """Twice the width of the activations."""
        return 2 * self.d_in

    def encode(self, acts: Float[Tensor, "n d_in"]) -> Float[Tensor, "n n_features"]:
        """Return ``[max(x, 0), max(-x, 0)]``."""
        assert acts.shape[-1] == self.d_in
        return torch.cat([acts.relu(), (-acts).relu()], dim=-1)

    def decode(self, codes: Float[Tensor, "n n_features"]) -> Float[Tensor, "n d_in"]:
        """Return the activations exactly."""
        return codes[..., : self.d_in] - codes[..., self.d_in :]
