"""The modality gap: images and texts of a CLIP live in two separate cones of the joint space.

Part of a shared dictionary encodes the offset between the cones rather than anything in the data.
Such latents have a large cosine with it, and change class when the offset is removed.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.feature_map import Decodable, FeatureMap
from mm_sae_plugin.modality import MODALITIES
from mm_sae_plugin.stats.accumulator import ModalityStatistics


@torch.no_grad()
def modality_gap_cosine(
    feature_map: FeatureMap, stats: ModalityStatistics
) -> Float[Tensor, "n_features"]:
    """Cosine of each feature's direction with mean_I − mean_T, as the feature map sees the two.

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
    if not isinstance(feature_map, Decodable):
        raise UserError("This feature map cannot decode, so its latents have no directions.")
    # A normalisation moves and scales the modalities, and the gap with them.
    normalization = getattr(feature_map, "normalization", None)
    if normalization is not None:
        means = torch.stack(
            [normalization.apply(m, name) for m, name in zip(means, MODALITIES, strict=True)]
        )
    gap_d = means[0] - means[1]
    directions = feature_map.directions.to("cpu", torch.float64)
    norm = directions.norm(dim=1) * gap_d.norm()
    return torch.where(norm > 0, directions @ gap_d / norm.clamp_min(1e-300), torch.nan)
