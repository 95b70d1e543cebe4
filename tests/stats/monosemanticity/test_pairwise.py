"""The Monosemanticity Score in one pass, against the sum over all pairs."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedRows
from mm_sae_plugin.stats.monosemanticity.pairwise import PairwiseSums
from tests.stats.monosemanticity.judged import random_rows, sparse_codes

N, N_FEATURES = 90, 12


def by_pairs(codes: Tensor, rows: EmbeddedRows, without_fold: int | None = None) -> np.ndarray:
    """The definition, pair by pair: activations scaled by their least and greatest value."""
    kept = rows.used & (rows.fold != (-1 if without_fold is None else without_fold))
    scale = codes[rows.used].double()
    low, high = scale.amin(0), scale.amax(0)
    scores = []
    for feature in range(codes.shape[1]):
        a = (codes[kept, feature].double() - low[feature]) / (high[feature] - low[feature])
        unit = rows.unit[kept].double()
        weights = [float(a[i] * a[j]) for i, j in combinations(range(len(a)), 2)]
        cosines = [float(unit[i] @ unit[j]) for i, j in combinations(range(len(a)), 2)]
        total = sum(weights)
        mixed = sum(w * c for w, c in zip(weights, cosines, strict=True))
        scores.append(mixed / total if total else np.nan)
    return np.array(scores)


def summed(codes: Tensor, rows: EmbeddedRows, parts: int = 1) -> PairwiseSums:
    empty = PairwiseSums("image", rows, codes.shape[1])
    total = empty.empty()
    for index in torch.arange(len(codes)).chunk(parts):
        part = total.empty()
        part.update(codes[index], index)
        total.merge(part)
    return total


@pytest.mark.parametrize("least", [0.0, 0.7])
def test_it_is_the_sum_over_all_pairs(least):
    """Also where no activation is 0, as of a map that is not sparse."""
    rows, codes = random_rows(N), sparse_codes(N, N_FEATURES) + least
    estimate = summed(codes, rows).estimate()
    np.testing.assert_allclose(estimate.values, by_pairs(codes, rows), atol=1e-6)
    for fold in range(rows.n_folds):
        expected = by_pairs(codes, rows, fold)
        np.testing.assert_allclose(estimate.without_fold[fold], expected, atol=1e-6)
    active = (codes[rows.used] > codes[rows.used].amin(0)).sum(0)
    assert estimate.n_active.tolist() == active.tolist()


def test_parts_merge_to_the_whole_wherever_the_least_activation_lies():
    rows = random_rows(N)
    # The least value comes in the first part for some features, in the last for others.
    codes = sparse_codes(N, N_FEATURES, share=1.0) + torch.linspace(0, 1, N)[:, None] * (
        torch.arange(N_FEATURES) % 2 * 2 - 1
    )
    codes = codes - codes.amin() + 0.1
    whole = summed(codes, rows)
    for parts in (3, 10):
        merged = summed(codes, rows, parts)
        for name, tensor in whole.state_dict().items():
            torch.testing.assert_close(merged.state_dict()[name], tensor, msg=name)
    np.testing.assert_allclose(whole.estimate().values, by_pairs(codes, rows), atol=1e-6)


def test_the_scale_does_not_matter():
    rows, codes = random_rows(N), sparse_codes(N, N_FEATURES)
    estimate, scaled = summed(codes, rows).estimate(), summed(codes * 1000, rows).estimate()
    np.testing.assert_allclose(scaled.values, estimate.values, atol=1e-9)


def test_what_is_active_on_too_few_rows_is_not_a_number():
    rows, codes = random_rows(N), torch.zeros(N, 4)
    codes[1, 1] = 1.0
    codes[[1, 2], 2] = torch.tensor([1.0, 3.0])
    codes[:, 3] = 2.0
    estimate = summed(codes, rows).estimate()
    assert np.isnan(estimate.values[[0, 1, 3]]).all()
    assert estimate.values[2] == pytest.approx(float(rows.unit[1] @ rows.unit[2]), abs=1e-7)
    assert estimate.n_active.tolist() == [0, 1, 2, 0]
    assert np.isnan(summed(codes, rows).estimate(n_least=3).values).all()
    # Either fold takes one of the two rows away.
    assert np.isnan(estimate.intervals(0.95)[2]).all()


def test_chance_is_the_mean_cosine():
    rows = random_rows(N)
    unit = rows.unit[rows.used].double()
    n = len(unit)
    off_diagonal = (unit @ unit.T).sum() - n
    sums = summed(sparse_codes(N, 2), rows)
    assert sums.chance() == pytest.approx(float(off_diagonal / (n * (n - 1))))


def test_memory_does_not_grow_with_the_rows():
    sizes = []
    for n in (90, 900):
        state = summed(sparse_codes(n, N_FEATURES), random_rows(n)).state_dict()
        sizes.append(sum(tensor.numel() for tensor in state.values()))
    assert sizes[0] == sizes[1]
