"""`FeatureMap`: the one interface that SAEs, learned heads and raw dimensions answer.

Every statistic asks only for it, so that each runs on all of them alike.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class FeatureMap(Protocol):
    """Non-negative codes of joint-space vectors.

    ``decode`` is optional: ask with ``getattr(feature_map, "decode", None)``.
    """

    @property
    def n_features(self) -> int:
        """Width of the codes."""
        ...

    def encode(self, acts: Float[Tensor, "n d_in"], /) -> Float[Tensor, "n n_features"]:
        """Return codes >= 0, one row per activation."""
        ...
