"""Two SAEs as one map: every code where its feature is."""

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import Decodable, FeatureMap, MatchedPair, Matching, SAEFeatureMap
from mm_sae_plugin.modality import MODALITIES
from tests.saes.tiny import tiny_sae

IMAGE, TEXT = SAEFeatureMap(tiny_sae(seed=1)), SAEFeatureMap(tiny_sae(seed=2))


def crossed() -> Matching:
    """Latent 3 of the images' SAE with 5 of the captions', 0 with 1; the others alone."""
    image = [3, 0, *(k for k in range(16) if k not in (0, 3)), *[-1] * 14]
    text = [5, 1, *[-1] * 14, *(k for k in range(16) if k not in (1, 5))]
    return Matching(torch.tensor(image), torch.tensor(text), torch.zeros(30).double())


def test_each_side_is_encoded_by_its_own_sae():
    acts = torch.randn(20, 8)
    pair = MatchedPair(IMAGE, TEXT, crossed())
    assert isinstance(pair, FeatureMap) and pair.n_features == 30
    assert pair.matching.n_matched == 2
    image, text = pair.encode(acts, "image"), pair.encode(acts, "text")
    assert torch.equal(image[:, 0], IMAGE.encode(acts, "image")[:, 3])
    assert torch.equal(text[:, 0], TEXT.encode(acts, "text")[:, 5])
    assert torch.equal(text[:, 1], TEXT.encode(acts, "text")[:, 1])
    # Features of one side alone are silent on the other.
    assert not bool(text[:, 2:16].any()) and not bool(image[:, 16:].any())


def test_each_side_is_decoded_by_its_own_sae():
    acts = torch.randn(20, 8)
    pair = MatchedPair(IMAGE, TEXT, crossed())
    for modality, side in zip(MODALITIES, (IMAGE, TEXT), strict=True):
        expected = side.decode(side.encode(acts, modality), modality)
        assert torch.equal(pair.decode(pair.encode(acts, modality), modality), expected)
        given, codes, returned = pair.reconstruct(acts, modality)
        assert torch.equal(returned, expected) and torch.equal(given, acts)
        assert torch.equal(codes, pair.encode(acts, modality))
    assert not isinstance(pair, Decodable), "a feature has a direction on either side"
    assert torch.equal(pair.directions_of("text")[0], TEXT.directions[5])
    assert not bool(pair.directions_of("text")[2:16].any())


def test_unmatched_saes_stand_beside_each_other():
    pair = MatchedPair(IMAGE, TEXT)
    acts = torch.randn(4, 8)
    assert pair.n_features == 32 and pair.matching.n_matched == 0
    assert torch.equal(pair.encode(acts, "text")[:, 16:], TEXT.encode(acts, "text"))


def test_a_matching_of_other_saes_is_refused():
    missing = crossed()
    missing.image[0] = 0
    with pytest.raises(UserError, match="does not hold each of the 16 latents of the image SAE"):
        MatchedPair(IMAGE, TEXT, missing)
