"""`FeatureMap`: the one interface that SAEs, learned heads and raw dimensions answer.

Every statistic asks only for it, so that each runs on all of them alike. A feature map takes raw
activations, as a store holds them, and is told their modality: normalisation lives inside it.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.modality import Modality


@runtime_checkable
class FeatureMap(Protocol):
    """Non-negative codes of activations."""

    @property
    def n_features(self) -> int:
        """Width of the codes."""
        ...

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality, /
    ) -> Float[Tensor, "*batch n_features"]:
        """Return codes >= 0, dense, one row for each activation of one modality."""
        ...


@runtime_checkable
class Decodable(FeatureMap, Protocol):
    """A feature map that can go back from codes to activations."""

    @property
    def directions(self) -> Float[Tensor, "n_features d_in"]:
        """What each feature adds to a reconstruction; its length has no meaning."""
        ...

    def decode(
        self, codes: Float[Tensor, "*batch n_features"], modality: Modality, /
    ) -> Float[Tensor, "*batch d_in"]:
        """Return reconstructions in the units of the activations."""
        ...
