"""Zero-shot tasks that attacks are judged on: pictures of classes, and prompts for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Protocol, overload, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.factorworld.captions import write_caption
from mm_sae_plugin.models import HookedCLIP

TASKS = ("object", "occupation", "colour", "backdrop")
"""Factors of FactorWorld that are asked about; the last one is image-dominant."""
HELD_OUT = ("size", "weather")
"""Factors that no tower is aligned on: whether a defense holds where its prompts are not asked."""
TASK_SEED = 9_000
"""Seed of the world that pictures are drawn from; no model was trained on it."""
_PROMPT_SEED = 9_001
_N_PROMPTS = 64
_BATCH = 128


@runtime_checkable
class Pictures(Protocol):
    """Pictures in their order; whether they are in memory or opened one by one is theirs to say.

    Not a `Sequence` or an `Iterable` of images: a check of the elements' types would open files.
    """

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __iter__(self) -> Iterator[Image.Image]:
        """Go over them once more, from the first."""
        ...

    @overload
    def __getitem__(self, index: int, /) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice, /) -> Pictures: ...
    def __getitem__(self, index: int | slice, /) -> Image.Image | Pictures:
        """Return one of them, or some."""
        ...


@dataclass(frozen=True)
class Captioned:
    """Pictures with a caption each."""

    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...]

    @classmethod
    def of_world(cls, n: int = 256, seed: int = TASK_SEED) -> Captioned:
        """Draw pairs of FactorWorld."""
        world = FactorWorld(seed)
        pairs = [world.pair(index) for index in range(n)]
        return cls(tuple(pair.image for pair in pairs), tuple(pair.caption for pair in pairs))


@dataclass(frozen=True)
class Task:
    """Pictures, each of one of several classes.

    Raises
    ------
    UserError
        If there are no pictures, one class only, or a class without prompts.
    """

    name: str
    pictures: Pictures
    labels: tuple[str, ...]
    """Class of each picture."""
    prompts: Mapping[str, Sequence[str]]
    """Class to its prompts; their order is that of the logits."""

    def __post_init__(self) -> None:
        if not self.pictures:
            raise UserError(f"The task {self.name!r:.60} has no pictures: give some.")
        assert len(self.pictures) == len(self.labels)
        if len(self.prompts) < 2:
            raise UserError(
                f"The task {self.name!r:.60} has one class only: an attack needs another one."
            )
        unknown = [label for label in self.labels if label not in self.prompts]
        if unknown:
            raise UserError(
                f"The label {unknown[0]!r:.60} of the task {self.name!r:.60} has no prompt: choose "
                f"from {', '.join(self.prompts)}, or give a prompt for it."
            )

    @property
    def indices(self) -> Tensor:
        """Number of each picture's class."""
        names = list(self.prompts)
        return torch.tensor([names.index(label) for label in self.labels])

    @torch.no_grad()
    def classes(self, model: HookedCLIP) -> Float[Tensor, "k d"]:
        """Return each class as one unit-length joint vector, the mean of its prompts'."""
        rows = []
        for prompts in self.prompts.values():
            texts = list(prompts)
            parts = [
                model.encode_text(texts[at : at + _BATCH], normalize=True)
                for at in range(0, len(texts), _BATCH)
            ]
            rows.append(torch.cat(parts).mean(0))
        return normalize(torch.stack(rows), dim=1)

    @classmethod
    def of_world(cls, name: str, n: int, seed: int = TASK_SEED) -> Task:
        """Draw pictures of FactorWorld that show a factor; prompts are captions that differ in it.

        Raises
        ------
        UserError
            If there is no such factor.
        """
        if name not in FACTORS:
            raise UserError(f"There is no task {name!r:.60}: choose from {', '.join(FACTORS)}.")
        factor, world = FACTORS[name], FactorWorld(seed)
        shown = (i for i in count() if name in world.scene(i).drawn)
        pairs = [world.pair(index) for index in islice(shown, n)]
        told = FactorWorld(_PROMPT_SEED)
        scenes = (scene for scene in map(told.scene, count()) if scene.kind in factor.scenes)
        said = [scene.said for scene in islice(scenes, _N_PROMPTS)]
        prompts = {
            value: [write_caption(one | {name: value}) for one in said] for value in factor.values
        }
        labels = tuple(pair.labels[f"drawn.{name}"] for pair in pairs)
        return cls(name, tuple(pair.image for pair in pairs), labels, prompts)
