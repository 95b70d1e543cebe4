"""White-box attacks: projected gradient descent (PGD) and its automatic form (APGD).

They go through whatever they are given, a defense too: what an attack does not see it does not
break, and says nothing of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.losses import Loss, cross_entropy_loss, targeted_loss

Classifier = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n k"]]
"""From pixels in [0, 1] to logits, with gradients; its normalisation lies inside."""
OnStep = Callable[[int], None]
"""Is told before each step how many have begun; what it raises ends the attack."""
_MOMENTUM = 0.75
_ENOUGH = 0.75
"""Share of the steps between two checkpoints that must raise the loss, for the step to stay."""
_FIRST_CHECKPOINT, _SHRINKS_BY, _LEAST_PERIOD = 0.22, 0.03, 0.06


@dataclass(frozen=True)
class Attacked:
    """What an attack found."""

    images: Float[Tensor, "n c h w"]
    """For every image the allowed one with the largest loss, or the first that was misclassified
    with a larger one."""
    fooled: Bool[Tensor, "n"]
    """Whether its class is wrong."""


@dataclass(frozen=True)
class Slope:
    """A loss at some images."""

    gradient: Float[Tensor, "n c h w"]
    """With regard to their pixels."""
    losses: Float[Tensor, "n"]
    """Of every image."""
    fooled: Bool[Tensor, "n"]
    """Whether its class is wrong."""


def slope_at(
    model: Classifier, images: Float[Tensor, "n c h w"], labels: Int[Tensor, "n"], loss: Loss
) -> Slope:
    """Return the loss at some images, with its gradient.

    A model that gives no gradient, as under ``no_grad``, gives zeros: what masks gradients is found
    by the tests of an evaluation, and stops no attack.
    """
    moved = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(moved)
        losses = loss(logits, labels)
    if losses.requires_grad:
        (gradient,) = torch.autograd.grad(losses.sum(), moved, allow_unused=True)
    else:
        gradient = None
    found = torch.zeros_like(images) if gradient is None else gradient.detach()
    return Slope(found, losses.detach(), logits.detach().argmax(1) != labels)


def pgd(
    model: Classifier,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    n_steps: int = 20,
    step: float | None = None,
    loss: Loss = cross_entropy_loss,
    seed: int | None = 0,
    on_step: OnStep | None = None,
    until_fooled: bool = False,
) -> Attacked:
    """Projected gradient descent (Madry et al. 2018).

    Parameters
    ----------
    model : callable
    images : float
        In [0, 1].
    labels : int
        True classes.
    budget : Budget
    n_steps : int
    step : float, optional
        Length of a step in the budget's norm; by default 2.5 eps / n_steps.
    loss : callable
        What is made larger.
    seed : int, optional
        Of the random start; None starts at the images themselves.
    on_step : callable, optional
    until_fooled : bool
        Leave an image as soon as it is fooled: much faster, where only that counts.
    """
    length = 2.5 * budget.eps / max(n_steps, 1) if step is None else step
    best, moved = _Best(images), images
    if seed is not None:
        moved = budget.random(images, torch.Generator().manual_seed(seed))
    going = torch.arange(len(images), device=images.device)
    for k in range(1, n_steps + 1):
        if on_step is not None:
            on_step(k)
        slope = slope_at(model, moved, labels[going], loss)
        best.see(moved, slope, going)
        if until_fooled:
            left = ~slope.fooled
            if not left.any():
                return best.attacked
            going, moved = going[left], moved[left]
            slope = Slope(slope.gradient[left], slope.losses[left], slope.fooled[left])
        moved = budget.project(moved + length * budget.steepest(slope.gradient), images[going])
    best.see(moved, slope_at(model, moved, labels[going], loss), going)
    return best.attacked


def apgd(
    model: Classifier,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    n_steps: int = 100,
    loss: Loss = cross_entropy_loss,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Attacked:
    """PGD that sets its own steps (Croce and Hein 2020, arXiv 2003.01690, algorithm 1).

    The step starts at 2 eps and is halved at checkpoints where too few steps raised the loss, or
    where neither step nor best loss changed since the last; it then goes on from the best point.
    See :func:`pgd`.
    """
    moved = before = budget.random(images, torch.Generator().manual_seed(seed))
    best, slope = _Best(images), slope_at(model, moved, labels, loss)
    best.see(moved, slope)
    step = torch.full((len(images), 1, 1, 1), 2 * budget.eps).to(images)
    was_halved = torch.ones(len(images), dtype=torch.bool, device=images.device)
    at_checkpoint, n_raised = best.losses.clone(), torch.zeros_like(best.losses)
    checkpoints, last = checkpoints_of(n_steps), 0
    gradient = slope.gradient
    for k in range(1, n_steps + 1):
        if on_step is not None:
            on_step(k)
        aim = budget.project(moved + step * budget.steepest(gradient), images)
        # The first step has none before it.
        share = 1.0 if k == 1 else _MOMENTUM
        after = moved + share * (aim - moved) + (1 - share) * (moved - before)
        before, moved = moved, budget.project(after, images)
        earlier, slope = slope.losses, slope_at(model, moved, labels, loss)
        n_raised = n_raised + (slope.losses > earlier)
        best.see(moved, slope)
        gradient = slope.gradient
        if k in checkpoints:
            is_stuck = ~was_halved & (best.losses <= at_checkpoint)
            halve = (n_raised < _ENOUGH * (k - last)) | is_stuck
            step = _where(halve, step / 2, step)
            moved = _where(halve, best.highest, moved)
            gradient = _where(halve, best.gradient, gradient)
            was_halved, at_checkpoint = halve, best.losses.clone()
            n_raised, last = torch.zeros_like(n_raised), k
    return best.attacked


def apgd_targeted(
    model: Classifier,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    n_steps: int = 100,
    n_targets: int = 9,
    seed: int = 0,
) -> Attacked:
    """APGD on the targeted difference of logits ratio, one target class after another.

    Targets are the most likely wrong classes of the image as it is; those that are fooled already
    are left alone.

    Parameters
    ----------
    n_targets : int
        At most so many; all wrong classes where there are fewer.
    """
    with torch.no_grad():
        logits = model(images)
    ranked = logits.scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
    found = Attacked(images.clone(), logits.argmax(1) != labels)
    for rank in range(min(n_targets, logits.shape[1] - 1)):
        left = (~found.fooled).nonzero()[:, 0]
        if not len(left):
            break
        targets = ranked[left, rank]
        one = apgd(
            model,
            images[left],
            labels[left],
            budget,
            n_steps,
            lambda z, y, t=targets: targeted_loss(z, y, t),
            seed + rank,
        )
        found.images[left] = one.images
        found.fooled[left] = one.fooled
    return found


def checkpoints_of(n_steps: int) -> list[int]:
    """Return the steps after which APGD looks back: 22, 41, 57, 70, 80, 87, 93, 99 of 100."""
    shares = [0.0, _FIRST_CHECKPOINT]
    while shares[-1] < 1:
        period = max(shares[-1] - shares[-2] - _SHRINKS_BY, _LEAST_PERIOD)
        shares.append(shares[-1] + period)
    steps = [-(-round(share * n_steps * 1e6) // 10**6) for share in shares[1:]]
    return sorted({step for step in steps if 0 < step <= n_steps})


class _Best:
    """The best images so far: where the loss is highest, and what the attack found."""

    def __init__(self, images: Tensor) -> None:
        nothing = torch.full((len(images),), -torch.inf, device=images.device)
        self.highest, self.losses = images.clone(), nothing.clone()
        self.gradient = torch.zeros_like(images)
        self._images, self._rank = images.clone(), nothing
        self._fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def see(self, moved: Tensor, slope: Slope, of: Int[Tensor, "m"] | None = None) -> None:
        """Look at points of all images, or of those whose numbers are given."""
        of = torch.arange(len(self.losses), device=moved.device) if of is None else of
        rises = slope.losses > self.losses[of]
        self.highest[of[rises]] = moved[rises]
        self.gradient[of[rises]] = slope.gradient[rises]
        self.losses[of[rises]] = slope.losses[rises]
        # A loss may be high where the class is right yet: what fools comes first.
        first = slope.fooled & ~self._fooled[of]
        better = first | ((slope.fooled == self._fooled[of]) & (slope.losses > self._rank[of]))
        self._images[of[better]] = moved[better]
        self._rank[of[better]] = slope.losses[better]
        self._fooled[of] |= slope.fooled

    @property
    def attacked(self) -> Attacked:
        return Attacked(self._images.detach(), self._fooled)


def _where(chosen: Bool[Tensor, "n"], one: Tensor, other: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], one, other)
