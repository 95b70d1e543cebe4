"""The attack that the fields ask for, as work that tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL.Image import Image

from mm_sae_plugin.applications.defense.one_picture import (
    TOWARD,
    Outcome,
    PictureAttack,
    attack_picture,
)
from mm_sae_plugin.demos.common.jobs import Tell, Work
from mm_sae_plugin.demos.defense.address import READ, Asked
from mm_sae_plugin.demos.defense.moving import moved
from mm_sae_plugin.demos.defense.showing import attacked
from mm_sae_plugin.demos.defense.subject import Subject


@dataclass(frozen=True)
class Step:
    """A step of an attack began."""

    name: str
    """The contender that is attacked."""
    n_begun: int


@dataclass(frozen=True)
class Found:
    """One more contender was attacked."""

    outcome: Outcome
    names: list[str]
    """Of the classes."""
    target: int | None
    """Number of the class that the attack leads towards."""
    moved: str | None
    """What to show of latents; told once, with the defense that is looked at."""

    def shown(self, subject: Subject, asked: Asked) -> str:
        """Return what the page shows of it."""
        return attacked(subject, self.outcome, self.names, asked.defense, asked.eps, self.target)


def attack_of(subject: Subject, asked: Asked, picture: Image) -> Work:
    """Return the work; it tells of every :class:`Step`, and after each contender :class:`Found`.

    A text that is no class becomes one more of them.
    """

    def work(tell: Tell) -> None:
        posed = subject.tasks[asked.task]
        classes, names, target = posed.classes, posed.names, None
        if asked.attack == TOWARD:
            if asked.toward not in names:
                classes = torch.cat([classes, subject.vector_of(asked.toward)])
                names = [*names, asked.toward]
            target = names.index(asked.toward)
        attack = PictureAttack(asked.attack, asked.eps / 255, asked.steps, target, asked.seed)
        truth = None if asked.truth == READ else names.index(asked.truth)
        for outcome in attack_picture(
            subject.found,
            classes,
            picture,
            attack,
            truth,
            asked.defense,
            lambda name, k: tell(Step(name, k)),
        ):
            panel = None
            if list(outcome.adaptive)[-1] == asked.defense:
                victims = {
                    name: subject.contender(name).victim(classes) for name in outcome.adaptive
                }
                panel = moved(subject, victims, outcome, asked.defense)
            tell(Found(outcome, names, target, panel))

    return work
