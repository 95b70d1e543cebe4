"""From where on a latent is said to point along the modality gap."""

from jaxtyping import Bool, Float
from torch import Tensor

GAP_CUT = 0.5
"""A latent whose |cosine| with the gap is above this may encode which tower spoke."""


def points_along_gap(cosine: Float[Tensor, "n_features"]) -> Bool[Tensor, "n_features"]:
    """Which latents may encode the tower rather than the content: |cosine| above ``GAP_CUT``.

    NaN (a latent without a direction) is large in no sense.
    """
    return cosine.abs() > GAP_CUT
