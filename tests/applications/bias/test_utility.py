"""Utility and readability of vectors whose truth is known, and debiasing without an SAE."""

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.mitigation import BalancedPrompts, Projection
from mm_sae_plugin.applications.bias.utility import utility

N, D = 400, 32


@pytest.fixture(scope="module")
def data():
    """Vectors in which axis 0 is the group and axes 1 to 3 are the colour."""
    chance = torch.Generator().manual_seed(0)
    group = torch.randint(0, 2, (N,), generator=chance)
    colour = torch.randint(0, 3, (N,), generator=chance)
    own = torch.randn(N, D, generator=chance) * 0.3
    images = own.clone()
    images[:, 0] = 2 * group - 1
    images[torch.arange(N), 1 + colour] += 1
    captions = images + 0.05 * torch.randn(N, D, generator=chance)
    names = ["red", "green", "blue"]
    return (
        normalize(images, dim=1),
        normalize(captions, dim=1),
        [names[c] for c in colour],
        ["woman" if g else "man" for g in group],
    )


def test_all_is_read_from_clean_vectors(data):
    images, captions, colours, groups = data
    found = utility(images, captions, {"colour": colours}, groups)
    assert found.retrieval > 0.95 and found.zero_shot["colour"] > 0.85 and found.readable > 0.99
    assert 0.5 <= found.chance < 0.6


def test_nothing_is_read_from_noise(data):
    _, _, colours, groups = data
    noise = normalize(torch.randn(N, D, generator=torch.Generator().manual_seed(1)), dim=1)
    other = normalize(torch.randn(N, D, generator=torch.Generator().manual_seed(2)), dim=1)
    found = utility(noise, other, {"colour": colours}, groups)
    assert found.retrieval < 0.05 and found.zero_shot["colour"] < 0.45 and found.readable < 0.62


def test_a_projection_erases_the_group_and_keeps_the_rest(data):
    images, captions, colours, groups = data
    women = torch.tensor([group == "woman" for group in groups])
    debias = Projection.between(images[women], images[~women])
    found = utility(debias(images), debias(captions), {"colour": colours}, groups)
    assert found.readable < 0.65 and found.zero_shot["colour"] > 0.85 and found.retrieval > 0.95
    assert (debias(images) @ debias.direction).abs().max() < 1e-5


def test_balanced_prompts_all_lean_equally(data):
    _, captions, _, groups = data
    women = torch.tensor([group == "woman" for group in groups])
    balance = BalancedPrompts.between(captions[women][:5], captions[~women][:5])
    prompts = balance(captions[:6])
    before, after = captions[:6] @ balance.direction, prompts @ balance.direction
    assert after.std() < 0.2 * before.std()
    torch.testing.assert_close(prompts.norm(dim=1), torch.ones(6))
