"""A feature map whose features are groups of another's, and fire where any member does."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.features.dense import dense_codes
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.modality import Modality


class JoinedFeatures:
    """Groups of features as features, such as the latents that one concept is split into.

    Parameters
    ----------
    feature_map : FeatureMap
        It is not changed.
    groups : sequence of sequences of int
        Features of each group, at least one; a feature may be in several groups or in none.
    """

    def __init__(self, feature_map: FeatureMap, groups: Sequence[Sequence[int]]) -> None:
        assert all(len(members) for members in groups)
        self.feature_map = feature_map
        self.groups = [list(members) for members in groups]

    @property
    def n_features(self) -> int:
        """Number of groups."""
        return len(self.groups)

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch n_groups"]:
        """Return the largest code within each group, >= 0."""
        codes = dense_codes(self.feature_map.encode(acts, modality))
        return torch.stack([codes[..., members].amax(-1) for members in self.groups], dim=-1)
