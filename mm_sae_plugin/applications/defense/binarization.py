"""The binarization test: can an attack find an adversarial image that is known to be there?

Zimmermann et al. 2022 (arXiv 2206.13991): most evaluations of defenses that later fell had attacks
that would have failed this. For every image a linear read-out of the defended model's own features
is fitted that tells one point on the edge of the budget from points inside. So each of these small
problems has an adversarial image for certain, and an attack that does not find one proves nothing
about the defense.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.gradient_attacks import pgd
from mm_sae_plugin.applications.defense.losses import margin_loss

Features = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]]
_INSIDE = 0.9
"""Inner points lie within this share of the budget."""
_NEAR = 0.9
"""Where the threshold lies between the outermost inner point (0) and the planted one (1): far out,
so that a point drawn at random seldom passes it."""
_RIDGE = 1e-3
_BATCH = 64


@dataclass(frozen=True)
class Binarization:
    """What an attack found of what was planted."""

    posed: Bool[Tensor, "n"]
    """Whether a problem could be planted: the features tell the planted point from the others."""
    attacked: Bool[Tensor, "n"]
    """Whether the attack found an adversarial image, of those."""
    drawn: Bool[Tensor, "n"]
    """Whether points drawn at random did, as many as the attack made steps."""

    @property
    def success(self) -> float:
        """Share of the posed problems that the attack solves; 0 where none could be posed."""
        return float((self.attacked & self.posed).sum() / self.posed.sum().clamp_min(1))

    @property
    def by_chance(self) -> float:
        """The same of random points."""
        return float((self.drawn & self.posed).sum() / self.posed.sum().clamp_min(1))


def binarization_test(
    features: Features,
    images: Float[Tensor, "n c h w"],
    budget: Budget,
    n_steps: int = 40,
    n_inner: int = 24,
    seed: int = 0,
) -> Binarization:
    """Plant a problem for every image and attack it with PGD on the margin.

    Parameters
    ----------
    features : callable
        What the model says of pixels behind its defense, before its classes.
    images : float
        Pixels in [0, 1].
    budget : Budget
    n_steps : int
        Steps of the attack.
    n_inner : int
        Points inside the budget for each image.
    seed : int
        Of all that is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [
        _solved(features, part, budget, n_steps, n_inner, generator)
        for part in images.split(_BATCH)
    ]
    return Binarization(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _solved(
    features: Features,
    images: Tensor,
    budget: Budget,
    n_steps: int,
    n_inner: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    inner = Budget(_INSIDE * budget.eps, budget.norm)
    with torch.no_grad():
        within = [features(images)]
        within += [features(inner.random(images, generator)) for _ in range(n_inner)]
        planted = features(_on_edge(images, budget, generator))
    weights, threshold, posed = _read_out(torch.stack(within, dim=1), planted)

    def classifier(pixels: Tensor) -> Tensor:
        scores = (features(pixels) * weights).sum(1) - threshold
        return torch.stack([torch.zeros_like(scores), scores], dim=1)

    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    found = pgd(classifier, images, labels, budget, n_steps, loss=margin_loss)
    drawn = torch.zeros_like(posed)
    with torch.no_grad():
        attacked = classifier(found.images).argmax(1) == 1
        for _ in range(n_steps):
            moved = _on_edge(images, budget, generator)
            drawn |= classifier(moved).argmax(1) == 1
    return posed, attacked, drawn


def _read_out(
    within: Float[Tensor, "n s d"], planted: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """Fit each image's read-out by ridge regression: 1 for the planted point, 0 for the others."""
    centre = within.mean(1, keepdim=True)
    rows = torch.cat([within, planted[:, None]], dim=1) - centre
    size = rows.square().sum(2).mean(1).clamp_min(1e-20)[:, None, None]
    wanted = torch.zeros(rows.shape[:2]).to(rows)
    wanted[:, -1] = 1.0
    # In the dual: there are fewer points than dimensions.
    gram = rows @ rows.transpose(1, 2) / size
    ridge = _RIDGE * torch.eye(rows.shape[1]).to(rows)
    dual = torch.linalg.solve(gram + ridge, wanted[:, :, None])
    weights = (rows * dual).sum(1) / size[:, 0]
    scores = (torch.cat([within, planted[:, None]], dim=1) * weights[:, None]).sum(2)
    outermost, aim = scores[:, :-1].amax(1), scores[:, -1]
    # Rounding alone would tell apart what the features do not.
    posed = aim > outermost + 1e-4 * (1 + aim.abs())
    return weights, outermost + _NEAR * (aim - outermost), posed


def _on_edge(images: Tensor, budget: Budget, generator: torch.Generator) -> Tensor:
    """Draw a point on the edge of the budget, for L∞ in a corner."""
    drawn = torch.randn(images.shape, generator=generator).to(images)
    return budget.project(images + budget.eps * budget.steepest(drawn), images)
