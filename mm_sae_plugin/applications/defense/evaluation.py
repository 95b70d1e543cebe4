"""How many images a victim still gets right: under each attack, and under all of them at once.

An image counts as robust only if no attack finds anything: the worst case per image, not the worst
attack's mean. *Static* is what images that were made against the bare model do to the defended one;
*adaptive* is what attacks find that go through the defense. The first flatters every defense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.applications.bias.permutation import Interval, proportion_interval
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.gradient_attacks import (
    Attacked,
    Classifier,
    apgd,
    apgd_targeted,
    pgd,
)
from mm_sae_plugin.applications.defense.square import square

Attack = Callable[[Classifier, Float[Tensor, "n c h w"], Int[Tensor, "n"], Budget], Attacked]
"""From a model, images, true classes and a budget to what was found."""
STATIC = "static"
"""Name of the images that were made against the bare model."""
PGD, APGD, APGD_TARGETED, SQUARE = "PGD", "APGD-CE", "APGD-DLR", "Square"
"""Names of the standard attacks."""
_BATCH = 64


@dataclass(frozen=True)
class Robustness:
    """What a victim gets right, image by image."""

    clean: Bool[Tensor, "n"]
    """As they are."""
    survived: Mapping[str, Bool[Tensor, "n"]]
    """Under each attack; images that an earlier one fooled are attacked no more, and have not
    survived the later ones either. `static` stands for itself."""

    @property
    def worst(self) -> Bool[Tensor, "n"]:
        """Under all attacks, the static one too."""
        return torch.stack([self.clean, *self.survived.values()]).all(0)

    @property
    def interval(self) -> Interval:
        """Wilson's, of the share that is right in the worst case."""
        return proportion_interval(int(self.worst.sum()), len(self.worst))

    def rate(self, name: str) -> float:
        """Share that is right under one attack."""
        return float(self.survived[name].float().mean())


def standard_attacks(n_pgd: int = 20, n_apgd: int = 100, n_square: int = 500) -> dict[str, Attack]:
    """Return the attacks of an evaluation, the cheap ones first.

    Parameters
    ----------
    n_pgd, n_apgd : int
        Steps of PGD, and of either APGD.
    n_square : int
        Queries of Square.
    """
    return {
        PGD: lambda model, x, y, budget: pgd(model, x, y, budget, n_pgd),
        APGD: lambda model, x, y, budget: apgd(model, x, y, budget, n_apgd),
        APGD_TARGETED: lambda model, x, y, budget: apgd_targeted(model, x, y, budget, n_apgd),
        SQUARE: lambda model, x, y, budget: square(model, x, y, budget, n_square),
    }


def evaluate(
    victim: Classifier,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    attacks: Mapping[str, Attack],
    static: Float[Tensor, "n c h w"] | None = None,
) -> Robustness:
    """Attack a victim with everything.

    Parameters
    ----------
    victim : callable
        Behind its defense.
    images, labels
        Pixels in [0, 1] and true classes.
    budget : Budget
    attacks : mapping of str to callable
        In this order; each sees only what still stands.
    static : float, optional
        Images within the budget that were made against the bare model.
    """
    clean = right(victim, images, labels)
    standing, survived = clean.clone(), {}
    if static is not None:
        assert budget.holds(static, images), "static images lie outside the budget"
        survived[STATIC] = right(victim, static, labels)
        standing &= survived[STATIC]
    for name, attack in attacks.items():
        for part in standing.nonzero()[:, 0].split(_BATCH) if standing.any() else ():
            found = attack(victim, images[part], labels[part], budget)
            # What an attack says it found is looked at again.
            assert budget.holds(found.images, images[part]), name
            standing[part] = right(victim, found.images, labels[part])
        survived[name] = standing.clone()
    return Robustness(clean, survived)


@torch.no_grad()
def right(
    victim: Classifier, images: Float[Tensor, "n c h w"], labels: Int[Tensor, "n"]
) -> Bool[Tensor, "n"]:
    """Return which images are classified as they should be."""
    if not len(images):
        return torch.zeros(0, dtype=torch.bool)
    parts = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
    return torch.cat([victim(part).argmax(1) == of_part for part, of_part in parts])


def mcnemar(one: Bool[Tensor, "n"], other: Bool[Tensor, "n"]) -> float:
    """Return the exact two-sided p that two victims get the same share of the same images right.

    Of the images that one of them alone gets right, as many should be either's (McNemar's test).
    """
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)
