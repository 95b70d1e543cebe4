"""A feature map whose modalities meet: each is moved so that both have the same mean.

Part of a dictionary encodes the offset between the towers. What a latent does when the offset is
gone tells it from a latent of content.
"""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.modality import MODALITIES, Modality


def centred(feature_map: FeatureMap, means: Float[Tensor, "2 d_in"]) -> FeatureMap:
    """Return the map with both modalities moved to their common midpoint before encoding.

    Parameters
    ----------
    feature_map : FeatureMap
        It is not changed.
    means : float, shape [2, d_in]
        Mean raw activation of the images, then of the captions.
    """
    if not isinstance(feature_map, SAEFeatureMap):
        return _Centred(feature_map, means - means.mean(dim=0, keepdim=True))
    # The midpoint is that of what the SAE sees, so the shift comes after the normalisation.
    normalization = feature_map.normalization
    seen = torch.stack(
        [normalization.apply(m, name) for m, name in zip(means, MODALITIES, strict=True)]
    )
    shift = (seen - seen.mean(dim=0, keepdim=True)).cpu()
    moved = normalization.mean + shift / normalization.scale[:, None]
    method = "per_modality_center" if normalization.is_identity else normalization.method
    return SAEFeatureMap(
        feature_map.sae,
        dataclasses.replace(normalization, method=method, mean=moved.to(normalization.mean)),
    )


class _Centred:
    def __init__(self, feature_map: FeatureMap, shift: Float[Tensor, "2 d_in"]) -> None:
        self.feature_map, self.shift = feature_map, shift
        self.n_features = feature_map.n_features

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch n_features"]:
        shift = self.shift[MODALITIES.index(modality)].to(acts.device)
        return self.feature_map.encode((acts - shift).to(acts.dtype), modality)
