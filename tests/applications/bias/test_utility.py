"""Utility and readability of vectors whose truth is known, and debiasing without an SAE."""

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.mitigation import Balancing, Projection, leading
from mm_sae_plugin.applications.bias.utility import chance, probe_accuracy, utility

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
    found = utility(images, captions, {"colour": colours, "unsaid": [""] * N})
    assert (found.retrieval or 0) > 0.95 and found.zero_shot["colour"] > 0.85
    assert list(found.zero_shot) == ["colour"]
    assert probe_accuracy(images, groups) > 0.99 and 0.5 <= chance(groups) < 0.6


def test_nothing_is_read_from_noise(data):
    _, _, colours, groups = data
    noise = normalize(torch.randn(N, D, generator=torch.Generator().manual_seed(1)), dim=1)
    other = normalize(torch.randn(N, D, generator=torch.Generator().manual_seed(2)), dim=1)
    found = utility(noise, other, {"colour": colours})
    assert (
        found.retrieval is not None and found.retrieval < 0.05 and found.zero_shot["colour"] < 0.45
    )
    assert probe_accuracy(noise, groups) < 0.62


def test_a_probe_is_not_judged_on_people_that_it_was_fitted_on(data):
    """Rows of a person are alike; a probe that met them reads a label that means nothing."""
    chance_of = torch.Generator().manual_seed(3)
    people = torch.randn(40, 64, generator=chance_of).repeat(6, 1)
    rows = normalize(people + 0.01 * torch.randn(240, 64, generator=chance_of), dim=1)
    labels = ["one" if i % 40 < 20 else "other" for i in range(240)]
    clusters = [str(i % 40) for i in range(240)]
    assert probe_accuracy(rows, labels) > 0.85
    assert probe_accuracy(rows, labels, clusters) < 0.75


def test_without_captions_there_is_no_retrieval():
    nothing = torch.zeros(0, D)
    assert utility(nothing, nothing, {}).retrieval is None


def test_a_projection_erases_the_group_and_keeps_the_rest(data):
    images, captions, colours, groups = data
    women = torch.tensor([group == "woman" for group in groups])
    debias = Projection(leading(images[women], images[~women]))
    found = utility(debias(images), debias(captions), {"colour": colours})
    assert (
        probe_accuracy(debias(images), groups) < 0.65
        and found.zero_shot["colour"] > 0.85
        and (found.retrieval or 0) > 0.95
    )
    assert (debias(images) @ debias.direction).abs().max() < 1e-5


def test_balanced_prompts_all_lean_equally(data):
    _, captions, _, groups = data
    women = torch.tensor([group == "woman" for group in groups])
    balance = Balancing(leading(captions[women][:5], captions[~women][:5]))
    prompts = balance(captions[:6])
    before, after = captions[:6] @ balance.direction, prompts @ balance.direction
    assert after.std() < 0.2 * before.std()
    torch.testing.assert_close(prompts.norm(dim=1), torch.ones(6))
