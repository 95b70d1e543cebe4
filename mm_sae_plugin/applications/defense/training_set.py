"""What towers are fine-tuned on: pictures at the model's own size, with labels where there are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from mm_sae_plugin.applications.defense.distances import NOT_SHOWN
from mm_sae_plugin.applications.defense.own_task import PictureFiles
from mm_sae_plugin.applications.defense.tasks import Pictures, Task
from mm_sae_plugin.applications.defense.victim import PixelScale
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.models import HookedCLIP

TRAINING_SEED = 8_000
"""Seed of the world that towers are fine-tuned on: neither that of the tasks nor of the CLIPs."""
_BATCH = 128


@dataclass(frozen=True)
class TrainingSet:
    """Pictures, and what each of them shows."""

    images: UInt8[Tensor, "n 3 h w"]
    """Pixels, 0 to 255, after the model's own resizing."""
    labels: Int[Tensor, "n n_tasks"]
    """Number of the class in each task, or ``NOT_SHOWN``."""
    pictures: tuple[str, ...] = ()
    """Keys of the files that they come from; empty where there are none."""

    @property
    def fingerprint(self) -> str:
        """What says whether two sets are the same, pictures and labels."""
        digest = hashlib.sha256()
        for numbers in (self.images, self.labels):
            digest.update(numbers.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @classmethod
    def of_world(
        cls, model: HookedCLIP, tasks: Sequence[Task], n: int, seed: int = TRAINING_SEED
    ) -> TrainingSet:
        """Draw pictures of FactorWorld; the tasks are named as its factors."""
        world = FactorWorld(seed)
        labels: list[list[int]] = []

        def pictures() -> Iterator[Image.Image]:
            for pair in map(world.pair, range(n)):
                shown = (pair.labels[f"drawn.{task.name}"] for task in tasks)
                labels.append(
                    [_number(task, value) for task, value in zip(tasks, shown, strict=True)]
                )
                yield pair.image

        images = pixels_of(model, pictures())
        return cls(images, torch.tensor(labels))

    @classmethod
    def of_task(cls, model: HookedCLIP, task: Task) -> TrainingSet:
        """Take the pictures of one task."""
        files = task.pictures.keys if isinstance(task.pictures, PictureFiles) else ()
        return cls(pixels_of(model, task.pictures), task.indices[:, None], files)


def pixels_of(
    model: HookedCLIP, pictures: Pictures | Iterator[Image.Image]
) -> UInt8[Tensor, "n 3 h w"]:
    """Return pictures at the model's own size, 0 to 255."""
    scale, left, parts = PixelScale.of(model), iter(pictures), []
    while batch := list(islice(left, _BATCH)):
        pixels = scale.pixels(model.to_pixels(batch).float().cpu())
        parts.append((pixels * 255).round().to(torch.uint8))
    return torch.cat(parts)


def _number(task: Task, value: str) -> int:
    return list(task.prompts).index(value) if value else NOT_SHOWN
