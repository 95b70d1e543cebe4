"""Groups of features as features."""

import torch

from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.features.joined import JoinedFeatures
from tests.stats.fakes import IdentityMap


def test_a_group_fires_where_any_of_its_members_does():
    joined = JoinedFeatures(IdentityMap(4), [(0, 2), (1,), (1, 2, 3)])
    assert isinstance(joined, FeatureMap) and joined.n_features == 3
    acts = torch.tensor([[1.0, -1.0, 2.0, 0.0], [0.0, 3.0, 0.0, 4.0]])
    assert joined.encode(acts, "text").tolist() == [[2, 0, 2], [0, 3, 4]]
    assert joined.encode(acts[:, None], "image").shape == (2, 1, 3)
