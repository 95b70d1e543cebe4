"""The swap null against swaps that are really made."""

import torch

from mm_sae_plugin.stats import ModalityStatistics, swap_null
from mm_sae_plugin.stats.intervals import score_values
from mm_sae_plugin.stats.nulls import coactivation_lift, swap_mask
from mm_sae_plugin.stats.scores import SCORES
from tests.stats.simulation import Design, simulate


def swapped_statistics(data, seed: int) -> ModalityStatistics:
    image, text = torch.from_numpy(data.codes_image), torch.from_numpy(data.codes_text)
    mask = swap_mask(data.image_id, seed)[:, None]
    stats = ModalityStatistics(image.shape[1])
    stats.update(torch.where(mask, text, image), torch.where(mask, image, text), data.image_id)
    return stats


def test_spread_under_swaps_is_exact():
    data = simulate(Design(120, 0.5, 0.2, max_captions=4, shared=0.5), 8)
    swaps = [swapped_statistics(data, seed) for seed in range(400)]
    for score in SCORES:
        swapped = torch.stack([score_values(stats, score) for stats in swaps])
        std = swap_null(data.statistics, score).std
        assert float((swapped.mean(0) - 0.5).abs().max()) < 4 * float(std.max()) / 20
        # 400 swaps know a standard deviation to about 3.5%; averaged over 8 latents, better.
        assert abs(float((swapped.std(0) / std).mean()) - 1) < 0.04


def test_p_values_are_uniform_when_sides_are_alike_and_small_when_not():
    alike = simulate(Design(300, 0.3, 0.3, max_captions=1), 2000).statistics
    for score in SCORES:
        p_value = swap_null(alike, score).p_value
        assert 0.035 < float((p_value < 0.05).double().mean()) < 0.065
    unlike = simulate(Design(300, 0.4, 0.1), 200).statistics
    assert float(swap_null(unlike, "frequency").p_value.max()) < 0.01


def test_coins_are_fair_and_belong_to_the_image():
    ids = torch.arange(20_000).repeat_interleave(2)
    mask = swap_mask(ids, seed=3)
    assert torch.equal(mask[::2], mask[1::2])
    assert abs(float(mask.double().mean()) - 0.5) < 0.012
    # An image's coin does not depend on what else is in the batch, and another seed is another.
    assert torch.equal(swap_mask(ids[400:600], seed=3), mask[400:600])
    assert abs(float((swap_mask(ids, seed=4) ^ mask).double().mean()) - 0.5) < 0.012


def test_lift_tells_cross_modal_from_equal_but_unrelated():
    generator = torch.Generator().manual_seed(0)
    fires = (torch.rand(5000, 3, generator=generator) < 0.2).float()
    other = (torch.rand(5000, 3, generator=generator) < 0.2).float()
    text = torch.stack([fires[:, 0], other[:, 1], torch.zeros(5000)], dim=1)
    stats = ModalityStatistics(3)
    stats.update(fires, text, torch.arange(5000))
    lift = coactivation_lift(stats)
    assert lift[0] > 4.5
    assert abs(float(lift[1]) - 1) < 0.15
    assert torch.isnan(lift[2])


def test_silent_latents_are_no_evidence():
    stats = ModalityStatistics(1)
    stats.update(torch.zeros(9, 1), torch.zeros(9, 1), torch.arange(9))
    null = swap_null(stats)
    assert null.z.item() == 0 and null.p_value.item() == 1 and torch.isnan(null.std).all()
