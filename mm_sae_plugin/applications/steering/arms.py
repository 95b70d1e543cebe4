"""Ways of moving a prompt's vector towards a reference, to be compared at equal |Δe|.

Every arm gives a direction; :func:`moved` goes a stated fraction of the vector's length along it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study import Study

Vectors = Float[Tensor, "n d"]
Direction = Callable[["Vectors", "Vectors"], "Vectors"]
"""(prompts, references), both of unit length -> directions of any length."""
MIXED = ("ImgD", "TextD", "CrossD")
"""The classes that have arms of their own."""
_TINY = 1e-12


@dataclass(frozen=True)
class Arm:
    """One way of moving."""

    name: str
    """Such as `TextD`, `TextD (paper)`, `random as TextD`, `gap`, `reconstruction`."""
    kind: Literal["class", "random", "baseline"]
    """Latents of a class, as many latents at random, or something without an SAE's classes."""
    n_latents: int
    """Latents that it may touch; 0 where it touches none by number."""
    direction: Direction
    """Where it goes."""


def latent_arms(study: Study, seed: int = 0) -> list[Arm]:
    """Return the arms that swap latents for the reference's: by class, and as many at random.

    Classes are those of the labels' own score and those of the paper's; a class without latents has
    no arm. Random latents are drawn from all that fire on something.

    Parameters
    ----------
    study : Study
        Labelled, with its SAE in the joint space.
    seed : int
        Of the random latents.
    """
    labels = study.labels
    chance = torch.Generator().manual_seed(seed)
    alive = labels.alive.nonzero()[:, 0]
    arms = []
    for name in MIXED:
        members = _mask(labels.classes, name)
        by_paper = _mask(labels.by_paper_score.classes, name)
        for mask, label in ((members, name), (by_paper, f"{name} (paper)")):
            if mask.any():
                arms.append(_swap_arm(study, mask, label, "class"))
        if members.any():
            drawn = alive[torch.randperm(len(alive), generator=chance)[: int(members.sum())]]
            mask = torch.zeros_like(members).index_fill(0, drawn, True)
            arms.append(_swap_arm(study, mask, f"random as {name}", "random"))
    return arms


def baseline_arms(study: Study) -> list[Arm]:
    """Return what needs no classes: the modality gap, reconstruction alone, and a plain blend.

    The gap leads from the mean of captions to that of images; reconstruction takes away what the
    SAE does not explain; the blend leads straight to the reference.
    """
    means = study.store.means
    gap = (means["image"] - means["text"]).float()

    def reconstruction(prompts: Vectors, references: Vectors) -> Vectors:
        codes = study.feature_map.encode(prompts, "image")
        return study.feature_map.decode(codes, "image").to(prompts) - prompts

    return [
        Arm("gap", "baseline", 0, lambda prompts, _: gap.expand_as(prompts)),
        Arm("reconstruction", "baseline", 0, reconstruction),
        Arm("blend", "baseline", 0, lambda prompts, references: references - prompts),
    ]


def moved(arm: Arm, prompts: Vectors, references: Vectors, strength: float) -> Vectors:
    """Move vectors a fraction of their own length along an arm's direction.

    Parameters
    ----------
    arm : Arm
    prompts : float
        Vectors to move, of any length.
    references : float
        Row by row what they are drawn to.
    strength : float
        |Δe| / |e|, 0 or more. A vector that an arm does not move stays where it is.

    Raises
    ------
    UserError
        If it is no such number, or so large that the vectors overflow.
    """
    if not strength >= 0:
        raise UserError(f"strength must be 0 or more, a fraction of |e|, not {strength}.")
    length = prompts.norm(dim=1, keepdim=True).clamp_min(_TINY)
    unit = torch.nn.functional.normalize(references, dim=1)
    with torch.no_grad():
        direction = arm.direction(prompts / length, unit)
    reach = direction.norm(dim=1, keepdim=True)
    step = torch.where(reach > _TINY, direction / reach.clamp_min(_TINY), 0.0)
    found = prompts + strength * length * step
    if not found.norm(dim=1).isfinite().all():
        raise UserError(
            f"A strength of {strength:g} moves vectors beyond all numbers: give a smaller fraction "
            "of |e|, such as 1."
        )
    return found


def _swap_arm(
    study: Study,
    mask: Bool[Tensor, "d_sae"],
    name: str,
    kind: Literal["class", "random"],
) -> Arm:
    feature_map = study.feature_map

    def direction(prompts: Vectors, references: Vectors) -> Vectors:
        codes = feature_map.encode(prompts, "image")
        difference = feature_map.encode(references, "image") - codes
        # The decoder is affine, so the bias drops out.
        swapped = codes + difference * mask.to(codes)
        moved = feature_map.decode(swapped, "image") - feature_map.decode(codes, "image")
        return moved.to(prompts)

    return Arm(name, kind, int(mask.sum()), direction)


def _mask(classes: list[str], name: str) -> Bool[Tensor, "d_sae"]:
    return torch.tensor([entry == name for entry in classes])
