"""Whether an evaluation can be believed: what must hold of any attack on any defense.

After Athalye et al. 2018 (arXiv 1802.00420) and Carlini et al. 2019 (arXiv 1902.06705): a defense
that hides gradients, rounds or draws at random looks robust until somebody attacks it properly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.applications.defense.binarization import binarization_test
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.evaluation import mcnemar, right
from mm_sae_plugin.applications.defense.expectation import expectation
from mm_sae_plugin.applications.defense.gradient_attacks import Classifier, pgd, slope_at
from mm_sae_plugin.applications.defense.losses import margin_loss
from mm_sae_plugin.applications.defense.square import square
from mm_sae_plugin.applications.defense.victim import Victim

NOISE = 0.02
"""Share of images by which an accuracy may differ for no reason."""
LEAST_SUCCESS = 0.95
"""Share of the planted problems that an attack must solve."""
_LARGE = 0.5
"""A budget, in L∞, within which every image can become any other's grey."""
_FACTORS = (0.5, 1.0, 2.0)
_ALPHA = 0.05
_N_DRAWS = 8
_BATCH = 64


@dataclass(frozen=True)
class SelfTest:
    """One test of an evaluation."""

    passed: bool
    figure: float
    """What was measured; `told` says of what."""
    told: str
    """A sentence for people."""


def self_tests(
    victim: Victim,
    images: Float[Tensor, "n 3 h w"],
    labels: Int[Tensor, "n"],
    budget: Budget,
    n_steps: int = 20,
    n_queries: int = 200,
    is_random: bool = False,
    seed: int = 0,
) -> dict[str, SelfTest]:
    """Run all tests on one victim.

    Parameters
    ----------
    victim : Victim
        Behind its defense.
    images, labels
        Pixels in [0, 1] and true classes; images that are wrong as they are, are left out.
    budget : Budget
    n_steps : int
        Steps of PGD.
    n_queries : int
        Queries of Square.
    is_random : bool
        Whether the defense says that it draws at random; attacks then go for its mean.
    seed : int
        Of all that is drawn.
    """
    model: Classifier = expectation(victim) if is_random else victim
    kept = right(model, images, labels)
    images, labels = images[kept], labels[kept]
    if not len(images):
        nothing = SelfTest(False, 0.0, "Not one image is right as it is: there is nothing to test.")
        return {"gradient": nothing}
    attack = _Attack(model, images, labels, seed)
    one = attack.survivors(budget, n_steps)
    return {
        "gradient": _gradient(model, images, labels),
        "large_eps": _large(attack, images, budget, n_steps),
        "monotone": _monotone(attack, budget, n_steps, one),
        "square_not_stronger": _square(model, images, labels, budget, n_queries, one, seed),
        "converged": _converged(one, attack.survivors(budget, 2 * n_steps)),
        "deterministic": _deterministic(victim, images, is_random),
        "binarization": _binarization(victim, images, budget, n_steps, is_random, seed),
    }


@dataclass(frozen=True)
class _Attack:
    model: Classifier
    images: Tensor
    labels: Tensor
    seed: int

    def survivors(self, budget: Budget, n_steps: int) -> Bool[Tensor, "n"]:
        parts = zip(self.images.split(_BATCH), self.labels.split(_BATCH), strict=True)
        found = [pgd(self.model, x, y, budget, n_steps, seed=self.seed).images for x, y in parts]
        return right(self.model, torch.cat(found), self.labels)


def _gradient(model: Classifier, images: Tensor, labels: Tensor) -> SelfTest:
    parts = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
    slopes = torch.cat([slope_at(model, x, y, margin_loss).gradient for x, y in parts])
    flat = slopes.flatten(1)
    useful = torch.isfinite(flat).all(1) & (flat.abs().amax(1) > 0)
    share = float(useful.float().mean())
    told = f"{share:.0%} of images have a gradient that an attack can follow; all should."
    return SelfTest(share == 1.0, share, told)


def _large(attack: _Attack, images: Tensor, budget: Budget, n_steps: int) -> SelfTest:
    eps = _LARGE if budget.norm == "Linf" else _LARGE * images[0].numel() ** 0.5
    left = float(attack.survivors(Budget(eps, budget.norm), n_steps).float().mean())
    told = f"{left:.0%} of images stay right where pixels may change by half of all: none should."
    return SelfTest(left <= NOISE, left, told)


def _monotone(attack: _Attack, budget: Budget, n_steps: int, one: Tensor) -> SelfTest:
    most = 1.0 if budget.norm == "Linf" else float("inf")
    found = []
    for factor in _FACTORS:
        eps = min(factor * budget.eps, most)
        of_factor = one if factor == 1 else attack.survivors(Budget(eps, budget.norm), n_steps)
        found.append(float(of_factor.float().mean()))
    rise = max(later - earlier for earlier, later in pairwise(found))
    told = f"Accuracy at half, the whole and twice the budget: {_listed(found)}; it must not rise."
    return SelfTest(rise <= NOISE, rise, told)


def _square(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    budget: Budget,
    n_queries: int,
    one: Bool[Tensor, "n"],
    seed: int,
) -> SelfTest:
    # Only what PGD left standing can show that Square sees more.
    left = one.nonzero()[:, 0]
    more = 0
    for part in left.split(_BATCH) if len(left) else ():
        found = square(model, images[part], labels[part], budget, n_queries, seed)
        more += int((~right(model, found.images, labels[part])).sum())
    share = more / len(images)
    told = (
        f"An attack without gradients breaks {share:.0%} of images that the one with gradients "
        "left: hardly any should."
    )
    return SelfTest(more <= max(1, NOISE * len(images)), share, told)


def _converged(one: Bool[Tensor, "n"], twice: Bool[Tensor, "n"]) -> SelfTest:
    gain = float(one.float().mean() - twice.float().mean())
    is_noise = gain <= NOISE or mcnemar(one, twice) > _ALPHA
    told = f"Twice the steps break {gain:+.1%} of images more: hardly any should."
    return SelfTest(is_noise, gain, told)


@torch.no_grad()
def _deterministic(victim: Victim, images: Tensor, is_random: bool) -> SelfTest:
    apart = float((victim(images[:_BATCH]) - victim(images[:_BATCH])).abs().max())
    if is_random:
        return SelfTest(True, apart, "The defense says that it is random; its mean was attacked.")
    told = f"Asked twice, the logits differ by {apart:.2g}: they must not, unannounced."
    return SelfTest(apart == 0, apart, told)


def _binarization(
    victim: Victim, images: Tensor, budget: Budget, n_steps: int, is_random: bool, seed: int
) -> SelfTest:
    def features(pixels: Tensor) -> Tensor:
        n_draws = _N_DRAWS if is_random else 1
        return torch.stack([victim.vectors(pixels) for _ in range(n_draws)]).mean(0)

    found = binarization_test(features, images, budget, 2 * n_steps, seed=seed)
    n = int(found.posed.sum())
    told = (
        f"The attack finds {found.success:.0%} of {n} adversarial images that are known to exist, "
        f"random points {found.by_chance:.0%}: it should find {LEAST_SUCCESS:.0%}."
    )
    enough = n >= len(images) / 2
    return SelfTest(enough and found.success >= LEAST_SUCCESS, found.success, told)


def _listed(shares: list[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)
