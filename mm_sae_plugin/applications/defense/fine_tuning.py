"""Fine-tuning a tower for every arm and seed, each into a folder of its own."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mm_sae_plugin.applications.defense.alignment import CHECKPOINT, align
from mm_sae_plugin.applications.defense.alignment_config import AlignmentConfig
from mm_sae_plugin.applications.defense.arms import Arm, arm_of
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.towers import (
    CARD,
    ImageTower,
    TunedTower,
    read_tower,
    save_tower,
)
from mm_sae_plugin.applications.defense.training_set import TrainingSet
from mm_sae_plugin.applications.defense.victim import PixelScale
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.study import Study


@dataclass(frozen=True)
class FineTuning:
    """What all arms and seeds share."""

    model: HookedCLIP
    """The encoder as it is; it is not changed."""
    tasks: Sequence[Task]
    """Whose readings or labels some arms use."""
    training: TrainingSet
    """Pictures."""
    cfg: AlignmentConfig
    """Settings; the seed is replaced."""
    study: Study | None = None
    """A labelled SAE of the joint space, for the arms that align latents."""

    def tower(self, name: str, seed: int, out: Path, progress: bool = False) -> TunedTower:
        """Fine-tune one tower into ``out/ARM-SEED``, or return what is there already.

        A run that was interrupted goes on from its last checkpoint.

        Raises
        ------
        UserError
            If there is no such arm, or the folder holds a tower of other settings.
        """
        cfg, path = replace(self.cfg, seed=seed), folder_of(name, seed, out)
        arm = arm_of(name, self.model, self.tasks, self.training.labels, self.study, seed)
        settings = self._settings(arm, cfg)
        if (path / CARD).is_file():
            found = read_tower(path)
            other = [key for key, value in settings.items() if found.card.get(key) != value]
            if other:
                raise UserError(
                    f"{path} holds a tower of other settings ({', '.join(other)}): give another "
                    "folder, or remove it."
                )
            return found
        tower = ImageTower(copy.deepcopy(self.model))
        inputs, started = PixelScale.of(self.model).inputs, time.time()
        images = self.training.images
        losses = align(
            tower,
            inputs,
            images,
            arm.distance,
            cfg,
            path,
            arm.targets,
            arm.anchor,
            progress,
            told=settings,
        )
        figures = {
            "losses": {"first": losses[0], "last": losses[-1]} if losses else {},
            "seconds": round(time.time() - started, 1),
            "pictures": list(self.training.pictures),
        }
        save_tower(path, tower, self.model, settings | figures)
        (path / CHECKPOINT).unlink(missing_ok=True)
        return read_tower(path)

    def _settings(self, arm: Arm, cfg: AlignmentConfig) -> dict[str, Any]:
        return {
            "arm": arm.name,
            "seed": cfg.seed,
            "base_weights_id": self.model.weights_id,
            "sae_id": self.study.sae_id if self.study and arm.told else None,
            "tasks": [task.name for task in self.tasks],
            "n_images": len(self.training.images),
            "images": self.training.fingerprint,
            "latents": arm.told,
            "alignment": asdict(cfg),
        }


def folder_of(name: str, seed: int, out: Path) -> Path:
    """Return where a tower lies."""
    return out / f"{name.replace(' ', '-').replace('(', '').replace(')', '')}-{seed}"
