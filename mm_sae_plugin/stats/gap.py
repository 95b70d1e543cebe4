"""The modality gap: images and texts of a CLIP live in two separate cones of the joint space.

Part of a shared dictionary encodes the offset between the cones rather than anything in the data.
Such latents have a large cosine with it, and change class when the offset is removed.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.accumulator import ModalityStatistics

if TYPE_CHECKING:
    from mm_sae_plugin.features.feature_map import FeatureMap


@torch.no_grad()
def modality_gap_cosine(
    feature_map: "FeatureMap", stats: ModalityStatistics
) -> Float[Tensor, "n_features"]:
    """Cosine of each latent's decoder direction with mean_I − mean_T.

    The direction of latent k is decode(unit k) − decode(0), so biases and normalisation drop out.

    Returns
    -------
    float64, −1 to 1
        NaN where a direction or the gap is zero.

    Raises
    ------
    UserError
        If the feature map cannot decode, or the statistics carry no activations.
    """
    means = stats.mean_acts
    if means is None:
        raise UserError("These statistics were taken without activations; use compute_modality.")
    decode = getattr(feature_map, "decode", None)
    if decode is None:
        raise UserError("This feature map cannot decode, so its latents have no directions.")
    gap_d = means[0] - means[1]
    # Codes of its own making tell the device and the dtype that it decodes.
    like = feature_map.encode(means.float())
    cosines = []
    for rows in torch.arange(stats.n_features).split(1024):
        codes = like.new_zeros(len(rows) + 1, stats.n_features)
        codes[torch.arange(len(rows)), rows] = 1.0
        decoded = decode(codes).to("cpu", torch.float64)
        directions = decoded[:-1] - decoded[-1]
        norm = directions.norm(dim=1) * gap_d.norm()
        cosines.append(
            torch.where(norm > 0, directions @ gap_d / norm.clamp_min(1e-300), torch.nan)
        )
    return torch.cat(cosines)
