"""The alignment loss against plain formulas."""

import math

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import AlignedTopKTrainingSAE, AlignedTopKTrainingSAEConfig
from mm_sae_plugin.saes.aligned import cosine_loss, energy_loss


def codes(seed=0, n_pairs=5, d_sae=7):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(2, n_pairs, d_sae, generator=generator, dtype=torch.float64)
    return drawn * (torch.rand(2, n_pairs, d_sae, generator=generator) < 0.6)


def test_cosine_loss_is_one_minus_the_mean_cosine():
    image, text = codes()
    cosines = []
    for z, w in zip(image.tolist(), text.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(z, w, strict=True))
        cosines.append(dot / (math.hypot(*z) * math.hypot(*w)))
    assert cosine_loss(image, text).item() == pytest.approx(1 - sum(cosines) / len(cosines))


def test_cosine_loss_is_equation_1_of_the_paper_but_for_a_constant():
    image, text = codes()
    rows = [side / side.norm(dim=1, keepdim=True) for side in (image, text)]
    expected = 1 - torch.trace(rows[0] @ rows[1].T) / len(image)
    torch.testing.assert_close(cosine_loss(image, text), expected)


def test_energy_loss_compares_each_latents_mean_square():
    image, text = codes()
    n_pairs, d_sae = image.shape
    energies = [
        [sum(side[i, k].item() ** 2 for i in range(n_pairs)) / n_pairs for k in range(d_sae)]
        for side in (image, text)
    ]
    apart = sum(abs(a - b) for a, b in zip(*energies, strict=True))
    assert energy_loss(image, text).item() == pytest.approx(apart / sum(map(sum, energies)))


@pytest.mark.parametrize("loss", [cosine_loss, energy_loss])
def test_ends_of_the_scale(loss):
    image, _ = codes()
    firing = image + 0.1
    assert loss(firing, 3 * firing if loss is cosine_loss else firing).item() == pytest.approx(0)
    left, right = firing.clone(), firing.clone()
    left[:, :3], right[:, 3:] = 0, 0
    assert loss(left, right).item() == pytest.approx(1)


def test_energies_know_sides_and_not_pairs():
    image, text = codes()
    assert energy_loss(image, image.flip(0)).item() == pytest.approx(0)
    assert cosine_loss(image, image.flip(0)) > 0.05
    torch.testing.assert_close(energy_loss(image, text), energy_loss(image, text.flip(0)))


@pytest.mark.parametrize("loss", [cosine_loss, energy_loss])
def test_gradients_are_those_of_finite_differences(loss):
    image, text = (side.add(0.05).requires_grad_() for side in codes())
    assert torch.autograd.gradcheck(loss, (image, text))


@pytest.mark.parametrize("loss", [cosine_loss, energy_loss])
def test_codes_without_any_latent_are_no_nan(loss):
    image, text = torch.zeros(3, 4, requires_grad=True), torch.zeros(3, 4, requires_grad=True)
    value = loss(image, text)
    value.backward()
    assert value.item() == (1 if loss is cosine_loss else 0)
    for side in (image, text):
        assert side.grad is not None and bool(side.grad.isfinite().all())


def test_an_unknown_alignment_is_told(any_types):
    with pytest.raises(UserError, match="Unknown alignment 'mse': choose one of cosine, energy"):
        AlignedTopKTrainingSAEConfig(d_in=8, d_sae=16, k=2, alignment="mse")  # pyright: ignore[reportArgumentType]


def test_a_latent_that_always_fires_buys_no_alignment_of_centred_codes():
    def loss(center_codes: bool, always: float) -> float:
        cfg = AlignedTopKTrainingSAEConfig(d_in=4, d_sae=7, k=2, center_codes=center_codes)
        image, text = codes()
        image[:, 0], text[:, 0] = always, always
        return AlignedTopKTrainingSAE(cfg).pair_loss(image, text).item()

    assert loss(False, 1000.0) < 1e-5 < 0.1 < loss(False, 0.0)
    assert loss(True, 1000.0) == pytest.approx(loss(True, 0.0))
