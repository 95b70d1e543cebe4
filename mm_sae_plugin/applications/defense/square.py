"""Square: an attack that sees logits only (Andriushchenko et al. 2020, arXiv 1912.00049).

It needs no gradient, so that a defense which only hides gradients falls to it: one that does better
against white-box attacks than against this is suspect.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.applications.defense.budget import Budget, lengths
from mm_sae_plugin.applications.defense.gradient_attacks import Attacked, Classifier, OnStep
from mm_sae_plugin.applications.defense.losses import margin_loss

FIRST_SHARE = 0.8
"""Share of an image's area that the first squares cover."""
_HALVED_AT = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, after which the share is halved; other budgets scale with it."""
_OF = 10_000


@torch.no_grad()
def square(
    model: Classifier,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    n_queries: int = 500,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Attacked:
    """Change random squares of every image, and keep a change that raises the margin.

    In L∞ a square takes ±eps in each channel. In L2 a change of random sign fills the square and
    the whole is brought back to length eps, so that what earlier squares took is shared anew; the
    paper moves it between two windows instead.

    Parameters
    ----------
    model, images, labels, budget
        As for :func:`~mm_sae_plugin.applications.defense.gradient_attacks.pgd`.
    n_queries : int
        How often the model is asked.
    seed : int
        Of all that is drawn.
    on_step : callable, optional
        Is told before each query but the first how many there were.
    """
    generator = torch.Generator().manual_seed(seed)
    moved = budget.project(images + _stripes(images, budget, generator), images)
    losses = margin_loss(model(moved), labels)
    for query in range(1, n_queries):
        # Whoever is fooled already is asked no more.
        left = (losses <= 0).nonzero()[:, 0]
        if not len(left):
            break
        if on_step is not None:
            on_step(query)
        side = _side(query, n_queries, images.shape[-2:])
        tried = _tried(moved[left], images[left], budget, side, generator)
        found = margin_loss(model(tried), labels[left])
        better = found > losses[left]
        moved[left[better]], losses[left[better]] = tried[better], found[better]
    return Attacked(moved, losses > 0)


def _stripes(images: Tensor, budget: Budget, generator: torch.Generator) -> Tensor:
    """Vertical stripes of random sign, one a column and channel."""
    n, channels, _, width = images.shape
    stripes = _signs((n, channels, 1, width), generator).to(images).expand_as(images)
    if budget.norm == "Linf":
        return budget.eps * stripes
    return budget.eps * stripes / lengths(stripes)


def _tried(
    moved: Tensor, images: Tensor, budget: Budget, side: int, generator: torch.Generator
) -> Tensor:
    n, channels, height, width = images.shape
    inside = _windows(n, height, width, side, generator).to(images.device)
    colours = _signs((n, channels, 1, 1), generator).to(images)
    if budget.norm == "Linf":
        return budget.project(torch.where(inside, images + budget.eps * colours, moved), images)
    change = moved - images
    size = change.abs().amax(dim=(1, 2, 3), keepdim=True)
    change = torch.where(inside, size * colours, change)
    change = change * budget.eps / lengths(change).clamp_min(1e-12)
    return budget.project(images + change, images)


def _windows(
    n: int, height: int, width: int, side: int, generator: torch.Generator
) -> Bool[Tensor, "n 1 h w"]:
    top = torch.randint(0, height - side + 1, (n, 1), generator=generator)
    left = torch.randint(0, width - side + 1, (n, 1), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def _side(query: int, n_queries: int, size: tuple[int, ...]) -> int:
    reached = query / n_queries * _OF
    share = FIRST_SHARE / 2 ** sum(reached > at for at in _HALVED_AT)
    side = round((share * size[0] * size[1]) ** 0.5)
    return max(1, min(side, *size))


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.randint(0, 2, shape, generator=generator) - 1
