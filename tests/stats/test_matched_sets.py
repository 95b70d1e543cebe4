"""Random sets in the place of a set of latents."""

import pytest
import torch

from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.matched_sets import TOLERANCE, matched_sets

N = 60


def _statistics(codes_image: torch.Tensor, codes_text: torch.Tensor) -> ModalityStatistics:
    stats = ModalityStatistics(codes_image.shape[1])
    stats.update(codes_image, codes_text, torch.arange(len(codes_image)))
    return stats


@pytest.fixture(scope="module")
def stats() -> ModalityStatistics:
    """Latents 0 to 29 fire often on both sides, 30 to 59 seldom and on texts alone."""
    generator = torch.Generator().manual_seed(0)
    rates = torch.cat([torch.full((30,), 0.4), torch.full((30,), 0.05)])
    codes = [
        torch.rand(800, N, generator=generator) * (torch.rand(800, N, generator=generator) < rates)
        for _ in range(2)
    ]
    codes[0][:, 30:] = 0
    return _statistics(*codes)


def _mask(*latents: int) -> torch.Tensor:
    mask = torch.zeros(N, dtype=torch.bool)
    mask[list(latents)] = True
    return mask


EVERY = torch.ones(N, dtype=torch.bool)


@pytest.mark.parametrize("members", [(0, 3, 5, 9), (31, 40, 41), (2, 30, 50)])
def test_sets_are_as_large_and_never_hold_members(stats, members):
    found = matched_sets(stats, _mask(*members), EVERY, n_sets=20)
    assert found.masks.shape == (20, N)
    assert (found.masks.sum(1) == len(members)).all()
    assert not (found.masks & _mask(*members)).any()
    assert len({tuple(row.tolist()) for row in found.masks}) > 10


def test_each_is_replaced_by_its_like(stats):
    found = matched_sets(stats, _mask(1, 2, 35, 36, 37), EVERY)
    assert (found.masks[:, :30].sum(1) == 2).all()
    assert (found.masks[:, 30:].sum(1) == 3).all()
    assert found.is_matched
    assert all(abs(value) <= TOLERANCE for value in found.mismatch.values())


def test_sets_that_are_silent_on_one_side_match_each_other(stats):
    found = matched_sets(stats, _mask(31, 40, 41), EVERY)
    assert found.mismatch["fires_image"] == found.mismatch["image_squared"] == 0
    assert found.is_matched


def test_what_has_no_like_is_said_not_to_match(stats):
    # Only latents of the other kind may stand in.
    seldom = _mask(*range(30, N))
    found = matched_sets(stats, _mask(0, 1, 2), seldom)
    assert not found.is_matched
    assert found.mismatch["fires_image"] == -1
    often = matched_sets(stats, _mask(31, 32), _mask(*range(30)))
    assert not often.is_matched
    assert often.mismatch["fires_image"] == float("inf")


def test_a_pool_that_is_too_small_does_not_match(stats):
    found = matched_sets(stats, _mask(*range(4)), _mask(*range(6)))
    assert (found.masks.sum(1) == 2).all()
    assert found.mismatch["n_latents"] == -0.5
    assert not found.is_matched
    nothing = matched_sets(stats, _mask(0), _mask(0))
    assert not nothing.masks.any()
    assert not nothing.is_matched


def test_few_strong_latents_do_not_pass_for_many_weak_ones():
    """Equal sums of firings and energies are no match of different counts."""
    codes = torch.ones(10, 6)
    codes[:, 4:] = torch.tensor([1.0, 0.0]).repeat_interleave(5)[:, None]
    found = matched_sets(
        _statistics(codes, codes),
        torch.tensor([False] * 4 + [True] * 2),
        torch.tensor([True] + [False] * 5),
    )
    assert found.mismatch["fires_image"] == found.mismatch["text_squared"] == 0
    assert found.mismatch["n_latents"] == -0.5
    assert not found.is_matched


def test_the_same_seed_draws_the_same_sets(stats):
    one, again, other = (matched_sets(stats, _mask(0, 1), EVERY, seed=s).masks for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
