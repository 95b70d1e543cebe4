"""The alignment losses against plain formulas."""

import math

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import AlignedTopKTrainingSAEConfig
from mm_sae_plugin.saes.aligned import cosine_loss, difference_loss

BOTH = pytest.mark.parametrize("loss", [difference_loss, cosine_loss])


def codes(seed=0, n_pairs=5, d_sae=7):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(2, n_pairs, d_sae, generator=generator, dtype=torch.float64)
    return drawn * (torch.rand(2, n_pairs, d_sae, generator=generator) < 0.6)


def of_pairs(image, text):
    return list(zip(image.tolist(), text.tolist(), strict=True))


def test_difference_loss_is_the_mean_squared_distance_of_a_pair():
    image, text = codes()
    squares = [math.dist(z, w) ** 2 for z, w in of_pairs(image, text)]
    assert difference_loss(image, text).item() == pytest.approx(sum(squares) / len(squares))


def test_cosine_loss_is_one_minus_the_mean_cosine():
    image, text = codes()
    cosines = [
        sum(a * b for a, b in zip(z, w, strict=True)) / (math.hypot(*z) * math.hypot(*w))
        for z, w in of_pairs(image, text)
    ]
    assert cosine_loss(image, text).item() == pytest.approx(1 - sum(cosines) / len(cosines))


def test_cosine_loss_is_equation_1_of_the_paper_but_for_a_constant():
    image, text = codes()
    rows = [side / side.norm(dim=1, keepdim=True) for side in (image, text)]
    expected = 1 - torch.trace(rows[0] @ rows[1].T) / len(image)
    torch.testing.assert_close(cosine_loss(image, text), expected)


def test_the_difference_is_the_cosine_times_the_energy_where_both_are_as_long():
    image, text = (3 * side / side.norm(dim=1, keepdim=True) for side in codes())
    torch.testing.assert_close(difference_loss(image, text), 2 * 9 * cosine_loss(image, text))


@BOTH
def test_equal_codes_cost_nothing_and_those_without_a_common_latent_most(loss):
    image, text = codes()
    assert loss(image + 0.1, image + 0.1).item() == pytest.approx(0)
    image[:, :3], text[:, 3:] = 0, 0
    energy = (image.square() + text.square()).sum(1).mean()
    expected = energy.item() if loss is difference_loss else 1
    assert loss(image, text).item() == pytest.approx(expected)


def test_what_fires_strongly_on_both_sides_buys_cosine_and_no_difference():
    image, text = codes()
    before = {loss: loss(image, text).item() for loss in (difference_loss, cosine_loss)}
    image[:, 0] += 1000
    text[:, 0] += 1000
    assert cosine_loss(image, text).item() < 1e-5 < 0.1 < before[cosine_loss]
    assert difference_loss(image, text).item() == pytest.approx(before[difference_loss])


@BOTH
def test_gradients_are_those_of_finite_differences(loss):
    image, text = (side.add(0.05).requires_grad_() for side in codes())
    assert torch.autograd.gradcheck(loss, (image, text))


@BOTH
def test_codes_without_any_latent_are_no_nan(loss):
    image, text = torch.zeros(3, 4, requires_grad=True), torch.zeros(3, 4, requires_grad=True)
    value = loss(image, text)
    value.backward()
    assert value.item() == (1 if loss is cosine_loss else 0)
    for side in (image, text):
        assert side.grad is not None and bool(side.grad.isfinite().all())


def test_an_unknown_alignment_is_told(any_types):
    with pytest.raises(UserError, match="Unknown alignment 'mse': choose one of difference, cos"):
        AlignedTopKTrainingSAEConfig(d_in=8, d_sae=16, k=2, alignment="mse")  # pyright: ignore[reportArgumentType]
