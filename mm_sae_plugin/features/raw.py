"""The dimensions of the embedding themselves as features: the baseline without a dictionary."""

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.features.width import check_acts_width
from mm_sae_plugin.modality import Modality


class RawDimensions:
    """Each dimension's positive and negative part; both modalities alike.

    Parameters
    ----------
    d_in : int
        Width of the activations; there are ``2 * d_in`` features, positive parts first.

    Raises
    ------
    UserError
        If ``d_in`` is no number of dimensions.
    """

    def __init__(self, d_in: int) -> None:
        if not isinstance(d_in, int) or d_in < 1:
            given = d_in if isinstance(d_in, int) else kind_of(d_in)
            raise UserError(f"d_in must be the width of the activations, at least 1, not {given}.")
        self.d_in = d_in

    @property
    def n_features(self) -> int:
        """Twice the width of the activations."""
        return 2 * self.d_in

    @property
    def directions(self) -> Float[Tensor, "n_features d_in"]:
        """The axes, then the same reversed; float32 on the CPU."""
        axes = torch.eye(self.d_in)
        return torch.cat([axes, -axes])

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch n_features"]:
        """Return ``[max(x, 0), max(-x, 0)]``.

        Raises
        ------
        UserError
            If the activations are of another width.
        """
        check_acts_width(f"RawDimensions({self.d_in})", self.d_in, acts)
        return torch.cat([acts.relu(), (-acts).relu()], dim=-1)

    def decode(
        self, codes: Float[Tensor, "*batch n_features"], modality: Modality
    ) -> Float[Tensor, "*batch d_in"]:
        """Return the activations exactly."""
        return codes[..., : self.d_in] - codes[..., self.d_in :]
