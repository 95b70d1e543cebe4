"""Attacks on what lies before the classes: an image's joint vector, and its codes.

They need no prompts. A defense that guards the readings of a few prompts may leave the vector open,
and one that guards some latents may leave the others open.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.distances import (
    Distance,
    embedding_distance,
    latent_distance,
)
from mm_sae_plugin.applications.defense.evaluation import Attack
from mm_sae_plugin.applications.defense.gradient_attacks import Attacked, Classifier, pgd
from mm_sae_plugin.applications.defense.losses import margin_loss
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.features.feature_map import Decodable

Objective = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n"]]
"""From unit-length joint vectors behind the defense to what is made larger."""


def attack_vectors(
    victim: Victim,
    images: Float[Tensor, "n 3 h w"],
    objective: Objective,
    budget: Budget,
    n_steps: int = 20,
    seed: int = 0,
) -> Float[Tensor, "n 3 h w"]:
    """Return, for every image, the allowed one that PGD finds the objective highest of.

    Parameters
    ----------
    victim : Victim
        Attacked through its defense; its classes are not used.
    images : float
        Pixels in [0, 1].
    objective : callable
    budget : Budget
    n_steps : int
    seed : int
        Of the random start.
    """

    # As a classifier of two classes, whose margin is the objective: so PGD is written once.
    def model(pixels: Tensor) -> Tensor:
        height = objective(victim.vectors(pixels))
        return torch.stack([torch.zeros_like(height), height], 1)

    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    return pgd(model, images, labels, budget, n_steps, None, margin_loss, seed).images


def towards(
    victim: Victim,
    images: Float[Tensor, "n 3 h w"],
    target: Float[Tensor, "n d"] | Float[Tensor, "1 d"],
    budget: Budget,
    n_steps: int = 20,
    seed: int = 0,
) -> Float[Tensor, "n 3 h w"]:
    """Return images whose vectors come near those of other images or texts (cosine).

    Parameters
    ----------
    target : float
        Unit-length joint vectors, one for each image or one for all.

    See :func:`attack_vectors` for the others.
    """

    def objective(rows: Tensor) -> Tensor:
        return (rows * target.to(rows)).sum(1)

    return attack_vectors(victim, images, objective, budget, n_steps, seed)


def embedding_attack(victim: Victim, n_steps: int = 20, seed: int = 0) -> Attack:
    """Return the attack that moves a victim's vectors as far as it can from where they were."""
    return _moving(victim, embedding_distance, n_steps, seed)


def latent_attack(
    victim: Victim,
    feature_map: Decodable,
    mask: Bool[Tensor, "n_features"],
    n_steps: int = 20,
    seed: int = 0,
) -> Attack:
    """Return the attack that moves some latents as far as it can from where they were.

    Parameters
    ----------
    feature_map : Decodable
        Of the joint space.
    mask : bool
        The latents, such as those that a defense keeps.
    """
    return _moving(victim, latent_distance(feature_map, mask), n_steps, seed)


def _moving(victim: Victim, distance: Distance, n_steps: int, seed: int) -> Attack:
    def attack(model: Classifier, x: Tensor, y: Tensor, budget: Budget) -> Attacked:
        with torch.no_grad():
            clean = victim.vectors(x)

        def objective(rows: Tensor) -> Tensor:
            return distance(rows, clean)

        moved = attack_vectors(victim, x, objective, budget, n_steps, seed)
        with torch.no_grad():
            return Attacked(moved, model(moved).argmax(1) != y)

    return attack
