"""PGD that leaves an image as soon as it is fooled: it finds the same, and looks at less."""

import pytest
import torch

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.gradient_attacks import pgd

N, K, N_STEPS = 120, 5, 10
BUDGETS = [Budget(0.012), Budget(0.08, "L2")]
in_both_norms = pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.norm)


class Linear:
    """A linear model that notes what it was asked, call by call, and what it answered."""

    def __init__(self) -> None:
        chance = torch.Generator().manual_seed(0)
        self.weights = torch.randn(K, 48, generator=chance)
        self.images = 0.3 + 0.4 * torch.rand(N, 3, 4, 4, generator=chance)
        self.offset = -(self.weights @ self.images.flatten(1).mean(0))
        self.calls = []
        self.labels = self.classes(self.images)

    def classes(self, x):
        return self.logits(x).argmax(1)

    def logits(self, x):
        return x.flatten(1) @ self.weights.T + self.offset

    def __call__(self, x):
        self.calls.append(x.detach())
        return self.logits(x)


def nearest(rows, images):
    """Numbers of the images that attacked ones come from."""
    return torch.cdist(rows.flatten(1), images.flatten(1)).argmin(1)


@pytest.fixture
def linear():
    return Linear()


@in_both_norms
def test_the_same_images_are_fooled(linear, budget):
    asked = linear.images, linear.labels, budget, N_STEPS
    whole, early = pgd(linear, *asked), pgd(linear, *asked, until_fooled=True)
    assert 0.2 < whole.fooled.float().mean() < 0.8
    assert early.fooled.equal(whole.fooled)
    # What is handed back does fool, and where nothing does it is what the whole attack found.
    assert (linear.classes(early.images) != linear.labels).equal(early.fooled)
    torch.testing.assert_close(early.images[~early.fooled], whole.images[~whole.fooled])
    assert budget.holds(early.images, linear.images)


@in_both_norms
def test_fooled_images_are_not_looked_at_again(linear, budget):
    found = pgd(linear, linear.images, linear.labels, budget, N_STEPS, until_fooled=True)
    assert len(linear.calls) == N_STEPS + 1
    standing = torch.arange(N)
    for rows in linear.calls:
        assert nearest(rows, linear.images).equal(standing)
        standing = standing[linear.classes(rows) == linear.labels[standing]]
    assert standing.equal((~found.fooled).nonzero()[:, 0])
    sizes = [len(rows) for rows in linear.calls]
    assert sizes[0] == N and sizes[-1] < 0.8 * N


@in_both_norms
def test_one_call_is_enough_where_all_are_fooled_at_once(linear, budget):
    wrong = linear.logits(linear.images).argmin(1)
    found = pgd(linear, linear.images, wrong, budget, N_STEPS, until_fooled=True)
    start = budget.random(linear.images, torch.Generator().manual_seed(0))
    assert (linear.classes(start) != wrong).all() and found.fooled.all()
    assert len(linear.calls) == 1 and found.images.equal(start)
    linear.calls.clear()
    pgd(linear, linear.images, wrong, budget, N_STEPS)
    assert len(linear.calls) == N_STEPS + 1


def test_where_nothing_can_be_fooled_all_is_as_without_it(linear):
    asked = linear.images, linear.labels, Budget(1e-5), N_STEPS
    whole, early = pgd(linear, *asked), pgd(linear, *asked, until_fooled=True)
    assert not early.fooled.any() and early.images.equal(whole.images)
    assert {len(rows) for rows in linear.calls} == {N}
