"""Intervals: coverage of known truths, agreement with a bootstrap, and the ends of the scale."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_sae_plugin.stats import ModalityStatistics
from mm_sae_plugin.stats.intervals import (
    firing_rates,
    score_intervals,
    score_values,
    score_variance,
    wilson,
)
from mm_sae_plugin.stats.scores import SCORES
from tests.stats.simulation import Design, simulate

N_DATA_SETS = 2000

DESIGNS = {
    "one caption": Design(600, 0.3, 0.3),
    "graded, one caption": Design(1000, 0.5, 0.15),
    "several captions": Design(400, 0.3, 0.2, 3.0, 2.0, max_captions=5, shared=0.5),
    "graded, many alike captions": Design(500, 0.15, 0.5, 2.0, 3.0, max_captions=5, shared=0.8),
}


def share_containing(intervals: Tensor, truth: float) -> float:
    return float(((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).double().mean())


@pytest.fixture(scope="module", params=DESIGNS, ids=str)
def simulated(request):
    design = DESIGNS[request.param]
    return design, simulate(design, N_DATA_SETS).statistics


@pytest.mark.parametrize("score", SCORES)
def test_score_intervals_contain_the_truth(simulated, score):
    design, stats = simulated
    covered = share_containing(score_intervals(stats, score), design.truth[score])
    assert 0.93 <= covered <= 0.97, covered


def test_rate_intervals_contain_the_truth(simulated):
    design, stats = simulated
    truths = {"image": design.p_image, "text": design.p_text, "either": design.p_either}
    for side, (_, intervals) in firing_rates(stats).items():
        covered = share_containing(intervals, truths[side])
        assert 0.93 <= covered <= 0.97, (side, covered)


def test_confidence_is_what_it_says():
    design = DESIGNS["several captions"]
    stats = simulate(design, N_DATA_SETS, seed=1).statistics
    for confidence in (0.8, 0.99):
        intervals = score_intervals(stats, "ratio_of_means", confidence)
        covered = share_containing(intervals, design.truth["ratio_of_means"])
        assert covered == pytest.approx(confidence, abs=0.02)


def test_ignoring_clusters_would_cover_too_little():
    """The simulation can fail: captions taken as independent give intervals that miss."""
    design = DESIGNS["graded, many alike captions"]
    data = simulate(design, N_DATA_SETS)
    stats = ModalityStatistics(N_DATA_SETS)
    stats.update(
        torch.from_numpy(data.codes_image),
        torch.from_numpy(data.codes_text),
        np.arange(len(data.image_id)),
    )
    for score in SCORES:
        assert share_containing(score_intervals(stats, score), design.truth[score]) < 0.9


@pytest.mark.parametrize("score", SCORES)
def test_standard_errors_agree_with_a_bootstrap_over_images(score):
    design = Design(400, 0.4, 0.3, max_captions=5, shared=0.5)
    data = simulate(design, 5, seed=3)
    stats = data.statistics
    per_image = [np.flatnonzero(data.image_id == i) for i in range(design.n_images)]
    rng = np.random.default_rng(0)
    replicates = []
    for _ in range(300):
        drawn = rng.integers(0, design.n_images, design.n_images)
        rows = np.concatenate([per_image[i] for i in drawn])
        resampled = ModalityStatistics(5)
        resampled.update(
            torch.from_numpy(data.codes_image[rows]),
            torch.from_numpy(data.codes_text[rows]),
            np.repeat(np.arange(design.n_images), [len(per_image[i]) for i in drawn]),
        )
        replicates.append(score_values(resampled, score))
    bootstrap = torch.stack(replicates)
    # 300 replicates know a standard error to about 4%, and the five data sets are independent.
    ratio = bootstrap.std(0) / score_variance(stats, score).sqrt()
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.06)
    low, high = np.quantile(bootstrap.numpy(), [0.025, 0.975], axis=0)
    widths = np.diff(score_intervals(stats, score).numpy(), axis=1)[:, 0]
    assert np.mean(widths / (high - low)) == pytest.approx(1.0, abs=0.1)


def test_intervals_stay_on_the_scale_and_hold_their_estimate():
    stats = simulate(Design(50, 0.05, 0.6, max_captions=3), 400).statistics
    for score in SCORES:
        value, interval = score_values(stats, score), score_intervals(stats, score)
        assert bool(((interval >= 0) & (interval <= 1)).all())
        assert bool(((interval[:, 0] <= value) & (value <= interval[:, 1])).all())


def test_a_pure_latent_is_certain_only_as_far_as_images_go():
    def low_end(n_images: int, n_captions: int) -> float:
        stats = ModalityStatistics(1)
        n = n_images * n_captions
        image_id = torch.arange(n_images).repeat_interleave(n_captions)
        stats.update(torch.ones(n, 1), torch.zeros(n, 1), image_id)
        for score in SCORES:
            assert float(score_intervals(stats, score)[0, 1]) == 1
        return float(score_intervals(stats, "mean_of_ratios")[0, 0])

    assert low_end(100, 1) > low_end(12, 1) > low_end(3, 1)
    assert low_end(12, 5) == pytest.approx(low_end(12, 1)), "more captions are not more images"
    assert low_end(10_000, 1) == pytest.approx(1 - 1.96**2 / 10_000, abs=1e-5)


def test_wilson_equals_the_textbook_on_a_binomial():
    p, n = torch.tensor([0.2], dtype=torch.float64), 50
    many = torch.tensor([1e12], dtype=torch.float64)
    interval = wilson(p, p * (1 - p) / n, many, 0.95)
    # 10 successes of 50.
    torch.testing.assert_close(
        interval, torch.tensor([[0.112437, 0.330372]], dtype=torch.float64), atol=1e-5, rtol=0
    )


def test_a_latent_that_never_fires_has_the_whole_scale():
    stats = ModalityStatistics(1)
    stats.update(torch.zeros(9, 1), torch.zeros(9, 1), torch.arange(9))
    assert score_intervals(stats, "energy").tolist() == [[0.0, 1.0]]
    rate, interval = firing_rates(stats)["either"]
    assert rate.item() == 0 and interval[0, 0] == 0 and 0 < float(interval[0, 1]) < 0.5
