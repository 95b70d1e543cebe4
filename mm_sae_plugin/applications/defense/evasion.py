"""A detector beside a victim, judged by attacks that do not know it and by one that does.

The one that does looks for images that are both misclassified and passed. It goes up the margin
less a multiple of the suspicion, for several multiples, and up whichever of the two is not reached
yet, which no multiple balances wrongly (after Bryniarski et al. 2021, arXiv 2106.15023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.applications.bias.permutation import proportion_interval
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.detection import Detector
from mm_sae_plugin.applications.defense.gradient_attacks import pgd
from mm_sae_plugin.applications.defense.losses import margin_loss
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.stats.auroc import Auroc, auroc

Look = Callable[[Float[Tensor, "n c h w"]], tuple[Float[Tensor, "n k"], Float[Tensor, "n"]]]
"""From pixels in [0, 1] to logits and suspicions, with gradients."""
Aim = Callable[[Float[Tensor, "n"], Float[Tensor, "n"]], Float[Tensor, "n"]]
"""From margins and what suspicions exceed the threshold by to what is made larger."""
_MULTIPLES = (0.1, 0.3, 1.0, 3.0)
_BATCH = 64


@dataclass(frozen=True)
class Watched:
    """A victim beside a detector."""

    look: Look
    """Both, in one pass of the model."""
    threshold: float
    """Images of a larger suspicion are flagged."""

    @classmethod
    def of(cls, victim: Victim, detector: Detector) -> Watched:
        """Let a detector look at the vectors of a victim's model, before its defense."""

        seen = []

        def tapped(rows: Tensor) -> Tensor:
            seen.append(rows)
            return rows if victim.defense is None else victim.defense(rows)

        through = Victim(victim.model, victim.classes, tapped)

        def look(pixels: Tensor) -> tuple[Tensor, Tensor]:
            logits = through(pixels)
            return logits, detector.score(seen.pop())

        return cls(look, detector.threshold)


@dataclass(frozen=True)
class Caught:
    """What became of images that were attacked in one way."""

    fooled: float
    """Share of all images that are misclassified, those too that were so without an attack."""
    detected: float | None
    """Share of the misclassified ones that are flagged: the true-positive rate. None where there
    are none."""
    evaded: float
    """Share of all images that are misclassified and pass."""
    low: float
    """Low end of Wilson's interval of ``evaded``."""
    high: float
    """High end of it."""
    auroc: Auroc
    """Of the suspicion, misclassified images against the clean ones, with its interval."""


@dataclass(frozen=True)
class Detection:
    """A detector's figures; plain numbers, for ``dataclasses.asdict``."""

    n: int
    """Images."""
    eps: float
    """Budget of the attacks."""
    norm: str
    """`Linf` or `L2`."""
    n_steps: int
    """Steps of each attack."""
    clean: float
    """Share of the clean images that are classified as they should be."""
    false_positives: float
    """Share of the clean images that are flagged."""
    static: Caught
    """By PGD on the logits, which does not know the detector."""
    adaptive: Caught
    """By attacks that do."""


def evaluate_detection(
    watched: Watched,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    n_steps: int = 20,
    seed: int = 0,
) -> Detection:
    """Judge a detector.

    Parameters
    ----------
    watched : Watched
    images, labels
        Clean images that the detector was not fitted on, pixels in [0, 1], and true classes.
    budget : Budget
    n_steps : int
        Steps of PGD, and of each aim of the attack that knows the detector.
    seed : int
        Of the random starts.
    """

    def classifier(pixels: Tensor) -> Tensor:
        return watched.look(pixels)[0]

    static, adaptive = [], []
    for pixels, of_pixels in zip(images.split(_BATCH), labels.split(_BATCH), strict=True):
        static.append(pgd(classifier, pixels, of_pixels, budget, n_steps, seed=seed).images)
        adaptive.append(evade(watched, pixels, of_pixels, budget, static[-1], n_steps, seed))
    wrong, suspicion = _judged(watched, images, labels)
    return Detection(
        len(images),
        budget.eps,
        budget.norm,
        n_steps,
        float((~wrong).float().mean()),
        float((suspicion > watched.threshold).float().mean()),
        *(
            _caught(*_judged(watched, torch.cat(found), labels), suspicion, watched.threshold)
            for found in (static, adaptive)
        ),
    )


def evade(
    watched: Watched,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    known: Float[Tensor, "n c h w"],
    n_steps: int = 20,
    seed: int = 0,
) -> Float[Tensor, "n c h w"]:
    """Return, for every image, the misclassified one of least suspicion that is found.

    One aim after another, each for the images that do not evade yet; an image that nothing fools
    stays as it is.

    Parameters
    ----------
    known : float
        Allowed images that were found in another way; they count as found.
    """
    found = images.clone()
    least = torch.full((len(images),), torch.inf, device=images.device)

    def see(
        of: Int[Tensor, "m"], moved: Tensor, margin: Float[Tensor, "m"], suspicion: Tensor
    ) -> None:
        better = (margin > 0) & (suspicion < least[of])
        found[of[better]], least[of[better]] = moved[better], suspicion[better]

    for start in (images, known):
        with torch.no_grad():
            logits, suspicion = watched.look(start)
        see(torch.arange(len(images)), start, margin_loss(logits, labels), suspicion)
    for number, aim in enumerate(_aims()):
        left = (least > watched.threshold).nonzero()[:, 0]
        if not len(left):
            break
        generator = torch.Generator().manual_seed(seed + number)
        moved = budget.random(images[left], generator)
        for at in range(n_steps + 1):
            moved = moved.detach().requires_grad_()
            with torch.enable_grad():
                logits, suspicion = watched.look(moved)
                margin = margin_loss(logits, labels[left])
                aimed = aim(margin, suspicion - watched.threshold)
            gradient = _gradient(aimed, moved)
            moved = moved.detach()
            see(left, moved, margin.detach(), suspicion.detach())
            # Ever shorter, so that it settles between two aims that pull apart.
            step = 5 * budget.eps / max(n_steps, 1) * (1 - at / max(n_steps, 1))
            moved = budget.project(moved + step * budget.steepest(gradient), images[left])
    return found


def _aims() -> list[Aim]:
    def in_turn(margin: Tensor, excess: Tensor) -> Tensor:
        return torch.where(margin > 0, -excess, margin)

    return [in_turn, *(lambda margin, excess, m=m: margin - m * excess for m in _MULTIPLES)]


def _gradient(losses: Tensor, pixels: Tensor) -> Tensor:
    if not losses.requires_grad:
        return torch.zeros_like(pixels)
    (gradient,) = torch.autograd.grad(losses.sum(), pixels, allow_unused=True)
    return torch.zeros_like(pixels) if gradient is None else gradient


@torch.no_grad()
def _judged(
    watched: Watched, images: Tensor, labels: Tensor
) -> tuple[Bool[Tensor, "n"], Float[Tensor, "n"]]:
    """Return which images are misclassified, and how suspicious each is."""
    looks = [watched.look(part) for part in images.split(_BATCH)]
    logits, suspicion = (torch.cat(parts) for parts in zip(*looks, strict=True))
    return logits.argmax(1) != labels, suspicion


def _caught(
    wrong: Bool[Tensor, "n"],
    suspicion: Float[Tensor, "n"],
    of_clean: Float[Tensor, "n"],
    threshold: float,
) -> Caught:
    flagged = suspicion > threshold
    evaded = wrong & ~flagged
    interval = proportion_interval(int(evaded.sum()), len(evaded))
    return Caught(
        float(wrong.float().mean()),
        float(flagged[wrong].float().mean()) if wrong.any() else None,
        float(evaded.float().mean()),
        interval.low,
        interval.high,
        auroc(suspicion[wrong].double().cpu().numpy(), of_clean.double().cpu().numpy()),
    )
