"""Matching latents of two SAEs by how their codes go together."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import MatchedPair, SAEFeatureMap
from mm_sae_plugin.stats import coactivation_matching
from mm_sae_plugin.stats.coactivation_matching import (
    CoactivationConfig,
    CodeProducts,
    heaviest_matching,
    match_by_coactivation,
)
from mm_sae_plugin.stats.passes import Reading, run_pass
from tests.saes.tiny import tiny_sae
from tests.stats.fakes import FakeStore, random_store


def shuffled_twin(seed: int = 4) -> tuple[SAEFeatureMap, SAEFeatureMap, torch.Tensor]:
    """An SAE, another whose latent i is the first one's latent order[i], and that order."""
    sae, twin = tiny_sae(seed=seed), tiny_sae(seed=seed)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
    weights = dict(sae.state_dict())
    columns = {"W_enc": weights["W_enc"][:, order], "b_enc": weights["b_enc"][order]}
    twin.load_state_dict({**weights, **columns, "W_dec": weights["W_dec"][order]})
    return SAEFeatureMap(sae), SAEFeatureMap(twin), order


def same_on_both_sides(n: int = 800) -> FakeStore:
    rows = torch.randn(n, 8, generator=torch.Generator().manual_seed(0))
    return FakeStore(rows, rows.clone(), torch.arange(n))


def test_correlations_are_those_of_numpy_however_the_pass_is_cut():
    store = random_store(120, d_in=8)
    pair = MatchedPair(SAEFeatureMap(tiny_sae(seed=1)), SAEFeatureMap(tiny_sae(seed=2)))
    products = CodeProducts(torch.arange(3, 9), torch.arange(16, 32))
    found = []
    for size in (7, 1000):
        (taken,) = run_pass(store, [Reading(pair, {"": products})], part_size=size)
        found.append(taken[""].correlation())  # pyright: ignore[reportAttributeAccessIssue]
    image = pair.encode(store.images[store.image_index], "image")[:, 3:9].detach().numpy()
    text = pair.encode(store.texts, "text")[:, 16:].detach().numpy()
    with np.errstate(invalid="ignore"):
        both = np.corrcoef(image, text, rowvar=False)[:6, 6:]
    expected = torch.from_numpy(np.nan_to_num(both))
    for correlation in found:
        torch.testing.assert_close(correlation, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("block_elements", [2**23, 40])
def test_a_planted_permutation_is_found_in_blocks_of_any_size(monkeypatch, block_elements):
    monkeypatch.setattr(coactivation_matching, "_BLOCK_ELEMENTS", block_elements)
    image, text, order = shuffled_twin()
    store = same_on_both_sides()
    pair = match_by_coactivation(image, text, store)
    fires = (image.encode(store.images, "image") > 0).any(0)
    matched = (pair.matching.image >= 0) & (pair.matching.text >= 0)
    assert int(matched.sum()) == int(fires.sum()) >= 12
    assert torch.equal(order[pair.matching.text[matched]], pair.matching.image[matched])
    torch.testing.assert_close(
        pair.matching.correlation[matched], torch.ones(int(matched.sum())).double()
    )
    assert pair.n_features == 32 - int(matched.sum())


def test_what_does_not_go_together_stays_apart():
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(2000, 8, generator=generator) for _ in range(2)]
    store = FakeStore(rows[0], rows[1], torch.arange(2000))
    image, text, _ = shuffled_twin()
    assert match_by_coactivation(image, text, store).matching.n_matched <= 1


def test_directions_can_decide():
    image, text, order = shuffled_twin()
    cfg = CoactivationConfig(cosine_weight=1.0)
    matching = match_by_coactivation(image, text, same_on_both_sides(), cfg).matching
    matched = (matching.image >= 0) & (matching.text >= 0)
    assert torch.equal(order[matching.text[matched]], matching.image[matched])


def test_the_matching_is_the_heaviest_of_all():
    generator = torch.Generator().manual_seed(3)
    for n_rows, n_columns in ((4, 4), (3, 5), (5, 3)):
        weights = torch.rand(n_rows, n_columns, generator=generator).double()
        weights *= torch.rand(n_rows, n_columns, generator=generator) < 0.6
        rows, columns = weights.nonzero(as_tuple=True)
        chosen = heaviest_matching(rows, columns, weights[rows, columns], n_rows, n_columns)
        assert len(set(rows[chosen].tolist())) == len(chosen) == len(set(columns[chosen].tolist()))
        total = float(weights[rows[chosen], columns[chosen]].sum())
        # Padded with zeros, so that every row may also go without.
        padded = torch.cat([weights, torch.zeros(n_rows, n_rows)], 1)
        best = max(
            float(padded[torch.arange(n_rows), list(p)].sum())
            for p in itertools.permutations(range(n_columns + n_rows), n_rows)
        )
        assert total == pytest.approx(best)
    nothing = torch.zeros(0, dtype=torch.int64)
    assert len(heaviest_matching(nothing, nothing, nothing.double(), 3, 3)) == 0


def test_settings_without_meaning_are_refused():
    cfg = CoactivationConfig()
    for wrong in ({"cosine_weight": 1.5}, {"level": 0.0}, {"n_candidates": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            replace(cfg, **wrong)
