"""What is attacked: an encoder, its defenses, and the pictures and classes of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.defense.contenders import NONE, SHIPPED, Contender, contenders
from mm_sae_plugin.applications.defense.tasks import TASKS, Task
from mm_sae_plugin.applications.defense.training_free import first_arms
from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.models import HookedCLIP, load_model
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.site import check_site

if TYPE_CHECKING:
    import pandas as pd

MODEL = "factorworld"
"""What is attacked where no SAE says of which encoder it is."""
N_CARDS = 6
"""Pictures to choose from, for each task."""
SEED = 9_100
"""Of the world that they are drawn from: neither trained on nor evaluated on."""


@dataclass(frozen=True)
class Posed:
    """A task with its pictures as files."""

    task: Task
    classes: Float[Tensor, "k d"]
    """Unit-length joint vector of each class."""
    cards: list[str]
    """Paths of its pictures."""

    @property
    def names(self) -> list[str]:
        """Of the classes, in the order of the vectors."""
        return list(self.task.prompts)

    @classmethod
    def of(cls, name: str, model: HookedCLIP) -> Posed:
        """Draw the pictures of a task, and embed its classes."""
        task = Task.of_world(name, N_CARDS, SEED)
        cards = []
        for picture in task.pictures:
            path = place_for("card.png")
            picture.save(path)
            cards.append(str(path))
        return cls(task, task.classes(model), cards)


@dataclass(frozen=True)
class Subject:
    """All that the page is about."""

    model: HookedCLIP
    """As it is before any defense."""
    found: Sequence[Contender]
    """It, and each defense; the undefended encoder first."""
    tasks: Mapping[str, Posed]
    study: Study | None = None
    """A labelled SAE of its joint space."""
    table: pd.DataFrame | None = None
    """What its latents may be called."""

    def contender(self, name: str) -> Contender:
        """Return one by its name."""
        return next(each for each in self.found if each.name == name)

    @property
    def names(self) -> list[str]:
        """Of all contenders."""
        return [each.name for each in self.found]

    @torch.no_grad()
    def vector_of(self, text: str) -> Float[Tensor, "1 d"]:
        """Return the unit-length joint vector of a text."""
        return normalize(self.model.encode_text([text]), dim=1)


def open_subject(sae: Path, acts: Path | None = None) -> Subject:
    """Open an encoder with its defenses.

    Parameters
    ----------
    sae : Path
        Folder of a labelled SAE; where it is not there, the page does without latents.
    acts : Path, optional
        Its store.

    Raises
    ------
    UserError
        If the folder holds no labelled SAE of the joint space, or its store or encoder cannot be
        opened.
    """
    if not sae.is_dir():
        model = load_model(MODEL)
        return Subject(model, contenders(model), _tasks(model))
    study = Study.open(sae, acts)
    check_site(study)
    table, model = Explorer.open(study, progress=True).table, study.model
    return Subject(
        model, contenders(model, (), first_arms(study, model)), _tasks(model), study, table
    )


def called(name: str) -> str:
    """A contender as the page calls it."""
    if name == NONE:
        return "no defense"
    return "robust tower" if name in SHIPPED.values() else name


def _tasks(model: HookedCLIP) -> dict[str, Posed]:
    return {name: Posed.of(name, model) for name in TASKS}
