"""EmbSim and WinRate against their definition, drawn at random many times."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.examples import ExampleRows
from mm_sae_plugin.stats.monosemanticity import top
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedRows
from mm_sae_plugin.stats.monosemanticity.top import top_similarity
from tests.stats.monosemanticity.judged import random_rows, sparse_codes

TOPS = (4, 9)
N, N_FEATURES = 200, 70


def found(codes: Tensor, rows: EmbeddedRows, tops: tuple[int, ...] = TOPS):
    examples = ExampleRows(max(tops), torch.ones(len(codes), dtype=torch.bool))
    used = rows.used.nonzero().flatten()
    examples.image.update(codes[used], used)
    return top_similarity(examples, "image", rows, codes.shape[1], tops)


def literally(
    codes: Tensor, rows: EmbeddedRows, feature: int, n_top: int, fold: int, n_draws: int
) -> tuple[float, float]:
    """The formulas of the module, averaged over drawn sets of random samples."""
    used = rows.used.nonzero().flatten()
    strongest = used[codes[used, feature].argsort(descending=True, stable=True)][:n_top]
    # What is left out leaves the strongest and the random ones.
    strongest, kept = (some[rows.fold[some] != fold] for some in (strongest, used))
    n_top = len(strongest)
    alike = rows.unit[strongest] @ rows.unit[strongest].T
    generator = torch.Generator().manual_seed(3)
    off_diagonal = ~torch.eye(n_top, dtype=torch.bool)
    differences, wins = [], []
    for _ in range(n_draws):
        drawn = rows.unit[kept[torch.randperm(len(kept), generator=generator)[:n_top]]]
        random = drawn @ drawn.T
        differences.append((alike - random)[off_diagonal].mean())
        wins.append((alike > random)[off_diagonal].float().mean())
    return float(torch.stack(differences).mean()), float(torch.stack(wins).mean())


def test_they_are_what_many_random_sets_give_on_average():
    rows, codes = random_rows(N), sparse_codes(N, N_FEATURES)
    for similarity in found(codes, rows):
        for feature in (0, 66):
            for fold in (-1, 2):
                embsim, winrate = literally(codes, rows, feature, similarity.n_top, fold, 3000)
                pick = (
                    (lambda e, k=feature: e.values[k])
                    if fold < 0
                    else (lambda e, k=feature: e.without_fold[2, k])
                )
                # Three thousand draws are off by a hundredth at most.
                assert pick(similarity.embsim) == pytest.approx(embsim, abs=0.02)
                assert pick(similarity.winrate) == pytest.approx(winrate, abs=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch):
    """Features of nothing in particular, of new samples each time: chance is the truth."""
    monkeypatch.setattr(top, "_N_RANDOM_PAIRS", 5_000)
    n_features, everywhere = 20, np.ones(20, dtype=bool)
    held, held_on_average = [], []
    for seed in range(40):
        rows = random_rows(300, d=16, n_folds=10, seed=seed)
        codes = sparse_codes(300, n_features, seed=seed + 1000)
        (similarity,) = found(codes, rows, (20,))
        for estimate, chance in ((similarity.embsim, 0.0), (similarity.winrate, 0.5)):
            low, high = estimate.intervals(0.95).T
            held.append(((low <= chance) & (chance <= high)).mean())
            mean = estimate.mean(everywhere, 0.95)
            held_on_average.append(mean.low <= chance <= mean.high)
    assert 0.92 < np.mean(held) < 0.98
    assert np.mean(held_on_average) > 0.85


def test_features_of_one_thing_win():
    rows = random_rows(N, d=3)
    codes = rows.unit.clamp_min(0)
    for similarity in found(codes, rows):
        assert (similarity.embsim.values > 0.2).all()
        assert (similarity.winrate.values > 0.7).all()


def test_ties_count_one_half():
    """Rows of two kinds in equal numbers: half of the pairs are alike, and tie with the best."""
    n = 400
    unit = torch.eye(2).repeat(n // 2, 1)
    rows = EmbeddedRows(
        unit, torch.ones(n, dtype=torch.bool), torch.arange(n) // 2 % 10, "two kinds", "none"
    )
    codes = unit[:, :1] * torch.linspace(1, 2, n)[:, None]
    (similarity,) = found(codes, rows, (10,))
    # 1 against 0 in 200 of 399 pairs, 1 against 1 in the others.
    assert similarity.winrate.values[0] == pytest.approx((200 + 199 / 2) / 399, abs=0.003)
    assert similarity.embsim.values[0] == pytest.approx(200 / 399, abs=1e-9)


def test_a_feature_that_fires_on_fewer_samples_is_not_a_number():
    rows, codes = random_rows(N), torch.zeros(N, 2)
    codes[:6, 0] = 1.0
    four, nine = found(codes, rows)
    # Row 4 does not count.
    assert four.embsim.n_active.tolist() == [4, 0] and nine.embsim.n_active.tolist() == [5, 0]
    assert np.isnan(four.embsim.values).tolist() == [False, True]
    assert np.isnan(nine.winrate.values).all()


def test_fewer_samples_than_asked_for_is_one_line():
    rows = random_rows(N)
    with pytest.raises(UserError, match=r"m = 200 need as many images, and there are 178: extract"):
        found(sparse_codes(N, 2), rows, (10, 200))
