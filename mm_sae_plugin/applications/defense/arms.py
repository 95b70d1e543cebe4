"""The trained defenses that are compared: each is a distance, and all else is the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mm_sae_plugin.applications.defense.distances import (
    Distance,
    embedding_distance,
    label_distance,
    latent_distance,
    reading_distance,
)
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.stats.matched_sets import matched_sets
from mm_sae_plugin.study import Study

FARE, TECOA, READINGS, ALL = "FARE", "TeCoA", "readings", "all latents"
CLASSES = ("ImgD", "TextD", "CrossD")
PAPER = " (paper)"
"""Behind a class: by the paper's score instead of the labels' own."""
RANDOM = "random like TextD"
"""As many other latents, which fire as often and as strongly where there are such."""
WITHOUT_LATENTS = (FARE, TECOA, READINGS)
"""Arms that need no SAE."""
ARMS = (*WITHOUT_LATENTS, ALL, *CLASSES, RANDOM)
"""All arms by the labels' own score."""
PAPER_ARMS = tuple(f"{name}{PAPER}" for name in CLASSES)
"""The same by the paper's."""


@dataclass(frozen=True)
class Arm:
    """What a tower is aligned on."""

    name: str
    """One of ``ARMS`` or ``PAPER_ARMS``."""
    distance: Distance
    """What is made small."""
    targets: Int[Tensor, "n n_tasks"] | None = None
    """Labels of the training images, for the one arm that uses them."""
    anchor: Distance | None = None
    """What keeps clean images in their place; None for the distance itself."""
    told: dict[str, float | None] = field(default_factory=dict)
    """How many latents are aligned; of a random set, too, how far it is from being matched."""


def arm_of(
    name: str,
    model: HookedCLIP,
    tasks: Sequence[Task],
    labels: Int[Tensor, "n n_tasks"],
    study: Study | None = None,
    seed: int = 0,
) -> Arm:
    """Return an arm by its name.

    Parameters
    ----------
    name : str
        One of ``ARMS`` or ``PAPER_ARMS``.
    model : HookedCLIP
        As it is before.
    tasks : sequence of Task
        Whose readings are kept, or whose labels are learned.
    labels : int
        Of the training images, one column a task.
    study : Study, optional
        A labelled SAE of the joint space, for the arms that align latents.
    seed : int
        Of the random set.

    Raises
    ------
    UserError
        If there is no such arm, if it needs an SAE, or if no latent is of its class.
    """
    if name not in ARMS + PAPER_ARMS:
        raise UserError(
            f"There is no arm {name!r:.60}: choose from {', '.join(ARMS + PAPER_ARMS)}."
        )
    temperature = float(model.logit_scale.detach().exp())
    if name == FARE:
        return Arm(name, embedding_distance)
    if name in (TECOA, READINGS):
        classes = {task.name: task.classes(model) for task in tasks}
        if name == READINGS:
            return Arm(name, reading_distance(classes, temperature))
        return Arm(name, label_distance(classes, temperature), labels)
    if study is None:
        raise UserError(f"The arm {name} aligns latents: give a labelled SAE, --sae SAE_DIR.")
    mask, mismatch = latents_of(name, study, seed)
    told = {"n_latents": float(mask.sum()), **mismatch}
    # Anchored by its latents alone, a tower lost a third of its clean accuracy.
    return Arm(name, latent_distance(study.feature_map, mask), None, embedding_distance, told)


def latents_of(
    name: str, study: Study, seed: int = 0
) -> tuple[Bool[Tensor, "n_features"], dict[str, float | None]]:
    """Return the latents of an arm, and how far a random set is from being matched."""
    labels = study.labels
    if name == ALL:
        return labels.alive, {}
    if name == RANDOM:
        like = _of_class("TextD", study, RANDOM)
        sets = matched_sets(labels.statistics, like, labels.alive, 1, seed)
        return sets.masks[0], {f"mismatch_{key}": value for key, value in sets.told.items()}
    return _of_class(name, study, name), {}


def _of_class(name: str, study: Study, arm: str) -> Bool[Tensor, "n_features"]:
    labels = study.labels.by_paper_score if name.endswith(PAPER) else study.labels
    wanted = name.removesuffix(PAPER)
    mask = torch.tensor([each == wanted for each in labels.classes])
    if not mask.any():
        raise UserError(
            f"No latent of {study.path} is {wanted}, so that the arm {arm!r} has nothing to align: "
            "leave it out."
        )
    return mask
