"""Group sparsity against plain formulas, and the masks that both sides share."""

import math

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import GroupTopKTrainingSAE, GroupTopKTrainingSAEConfig
from mm_sae_plugin.saes.group_sparse import group_norm
from tests.saes.pair_steps import pair_step

N_PAIRS, D_IN, D_SAE, K = 40, 12, 64, 5


def sae_with(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cfg = GroupTopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, **options)
        sae = GroupTopKTrainingSAE(cfg)
    sae.rows_are_paired = True
    return sae


def rows(seed=0):
    return torch.randn(2 * N_PAIRS, D_IN, generator=torch.Generator().manual_seed(seed))


def test_group_norm_is_the_sum_of_the_groups_lengths():
    generator = torch.Generator().manual_seed(0)
    image, text = torch.rand(2, 5, 7, generator=generator)
    expected = [
        sum(math.hypot(a, b) for a, b in zip(z, w, strict=True))
        for z, w in zip(image.tolist(), text.tolist(), strict=True)
    ]
    assert group_norm(image, text).item() == pytest.approx(sum(expected) / 5)


def test_one_latent_on_both_sides_is_cheaper_than_two_on_one_side_each():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert group_norm(one, one).item() == pytest.approx(math.sqrt(2))
    assert group_norm(one, other).item() == pytest.approx(2)


def test_gradients_are_those_of_finite_differences_and_zero_where_nothing_fires():
    generator = torch.Generator().manual_seed(0)
    image, text = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64) + 0.1
    inputs = image.requires_grad_(), text.requires_grad_()
    assert torch.autograd.gradcheck(group_norm, inputs)
    silent = torch.zeros(3, 4, requires_grad=True)
    group_norm(silent, silent * 0).backward()
    assert silent.grad is not None and bool((silent.grad == 0).all())


def test_both_sides_of_a_pair_choose_among_the_same_latents():
    sae = sae_with(mask_probability=0.5)
    kept = sae.kept_latents(N_PAIRS, 3)
    image, text = pair_step(sae, rows(), step=3).output.feature_acts.chunk(2)
    assert not bool((image[~kept] != 0).any() or (text[~kept] != 0).any())
    assert bool((image[kept] != 0).any() and (text[kept] != 0).any())
    # They are the best of those: k on every row, as there are enough that are positive.
    hidden = sae.encode_with_hidden_pre(rows())[1].chunk(2)[0]
    best = torch.where(kept, hidden, -torch.inf).topk(K).values.relu()
    torch.testing.assert_close(image.topk(K).values, best)


def test_masks_are_as_frequent_as_they_should_be_and_change_with_pair_step_and_seed():
    sae = sae_with(mask_probability=0.2)
    kept = sae.kept_latents(2000, 0)
    # Six standard deviations of 128,000 draws.
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.007)
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept, sae.kept_latents(2000, 1))
    assert torch.equal(kept, sae.kept_latents(2000, 0))
    assert not torch.equal(kept, sae_with(mask_seed=1).kept_latents(2000, 0))


def test_masks_leave_global_randomness_and_everything_but_the_step_alone():
    sae, plain = sae_with(mask_probability=0.5), sae_with(mask_probability=0.0)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    step = pair_step(sae, rows())
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(sae.encode(rows()), plain.encode(rows()))
    assert not torch.equal(step.output.feature_acts, plain.encode(rows()))
    assert torch.equal(step.output.hidden_pre, plain.encode_with_hidden_pre(rows())[1])
    assert sae.state_dict().keys() == plain.state_dict().keys()


def test_the_mask_ends_with_a_step_that_fails():
    sae = sae_with(mask_probability=0.5)
    with pytest.raises(UserError, match="A paired batch"):
        pair_step(sae, rows()[1:])
    assert torch.equal(sae.encode(rows()), sae_with(mask_probability=0.0).encode(rows()))


def test_where_fewer_than_k_latents_are_left_the_others_stay_off():
    sae = sae_with(mask_probability=0.97)
    acts = pair_step(sae, rows()).output.feature_acts
    n_kept = sae.kept_latents(N_PAIRS, 0).sum(1).repeat(2)
    assert bool(((acts > 0).sum(1) <= n_kept).all()) and bool((n_kept < K).any())


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_probabilities_without_meaning_are_refused(probability):
    with pytest.raises(UserError, match="mask_probability must be at least 0 and below 1"):
        sae_with(mask_probability=probability)
