"""Vectors without latents."""

import torch
from torch.nn.functional import normalize

from mm_sae_plugin.interventions.removal import Removal
from tests.stats.fakes import FakeFeatureMap

N_FEATURES = 24


def _removal(n: int = 12) -> tuple[Removal, torch.Tensor, FakeFeatureMap]:
    rows = normalize(torch.randn(n, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    feature_map = FakeFeatureMap(8, N_FEATURES, bias=0.0)
    return Removal(feature_map, rows, "image"), rows, feature_map


def _mask(*latents: int) -> torch.Tensor:
    mask = torch.zeros(N_FEATURES, dtype=torch.bool)
    mask[list(latents)] = True
    return mask


def test_removing_nothing_is_the_identity():
    removal, rows, _ = _removal()
    # Up to the length, which is that of a unit vector only to float32's precision.
    assert torch.equal(removal.without(_mask()), normalize(rows, dim=1))
    assert torch.equal(removal.part(_mask()), torch.zeros_like(rows))
    assert removal.share_moved(_mask()) == 0
    assert torch.equal(removal.without(_mask(), relative_norm=0.5), normalize(rows, dim=1))


def test_a_latent_takes_its_own_direction_away():
    removal, rows, feature_map = _removal()
    expected = rows - removal.codes[:, 3:4] * feature_map.directions[3]
    assert (removal.codes[:, 3] > 0).any()
    assert torch.allclose(removal.without(_mask(3)), normalize(expected, dim=1), atol=1e-5)


def test_parts_add_up_and_the_error_stays():
    removal, rows, feature_map = _removal()
    both = removal.part(_mask(3)) + removal.part(_mask(5, 7))
    assert torch.allclose(removal.part(_mask(3, 5, 7)), both, atol=1e-5)
    # Without any latent, what is left is the offset and what the map does not reconstruct.
    everything = _mask(*range(N_FEATURES))
    left = rows - feature_map.decode(removal.codes, "image") + feature_map.b_dec
    assert torch.allclose(removal.without(everything), normalize(left, dim=1), atol=1e-4)


def test_a_latent_that_never_fires_changes_nothing():
    rows = normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    feature_map = FakeFeatureMap(8, N_FEATURES, bias=-0.5)
    removal = Removal(feature_map, rows, "text")
    silent = (removal.codes == 0).all(0)
    assert silent.any() and not silent.all()
    assert torch.allclose(removal.without(silent), rows, atol=1e-6)


def test_rows_move_as_far_as_asked():
    removal, rows, _ = _removal()
    mask = _mask(2, 4, 11)
    part = removal.part(mask)
    fires = part.norm(dim=1) > 0
    assert fires.any() and not fires.all()
    moved = removal.without(mask, relative_norm=0.2)
    expected = rows - 0.2 * normalize(part, dim=1)
    assert torch.allclose(moved[fires], normalize(expected, dim=1)[fires], atol=1e-5)
    assert torch.allclose(moved[~fires], rows[~fires], atol=1e-6)
    share = (part.norm(dim=1) / rows.norm(dim=1)).mean()
    assert removal.share_moved(mask) == float(share)


def test_what_comes_back_is_of_unit_length():
    removal, rows, feature_map = _removal()
    for found in (removal.without(_mask(1, 2)), removal.reconstructed()):
        assert torch.allclose(found.norm(dim=1), torch.ones(len(rows)), atol=1e-5)
    told = normalize(feature_map.decode(removal.codes, "image"), dim=1)
    assert torch.equal(removal.reconstructed(), told)
