"""``mm-sae robustness``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig
from mm_sae_plugin.commands.model_choice import ModelChoice
from mm_sae_plugin.commands.opened import open_model
from mm_sae_plugin.commands.task_choice import TaskChoice
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import refuse_unwritable

if TYPE_CHECKING:
    from mm_sae_plugin.applications.defense.tasks import Task
    from mm_sae_plugin.models import HookedCLIP
    from mm_sae_plugin.study import Study

_RECORD, _FIGURE = "robustness.json", "robustness.svg"


@dataclass(frozen=True)
class RobustnessCommand:
    """Attack an encoder and its defenses, through the defense, and say what can be believed."""

    out: Path = Path("runs/robustness")
    """Folder of robustness.json and the figure."""
    towers: Path | None = None
    """Folder of fine-tuned towers, as `mm-sae align` wrote it."""
    sae: Path | None = None
    """Folder of a labelled SAE of the joint space, for the defenses that train nothing."""
    acts: Path | None = None
    """Its activation store; by default the one that it was trained on."""
    quick: bool = False
    """Two minutes: few images and few steps, to see that all works, not to judge."""
    n_workers: int = 2
    """Defenses that are attacked at a time, each in one thread."""
    cfg: RobustnessConfig = field(default_factory=RobustnessConfig)
    task: TaskChoice = field(default_factory=TaskChoice)
    choice: ModelChoice = field(default_factory=lambda: ModelChoice(model=""))
    """By default the model of the SAE, else factorworld."""

    def run(self) -> None:
        """Attack, print the table and the verdicts, and write them; a failed self-test ends in an
        error, after all is written."""
        import torch
        from rich import print as rich_print

        from mm_sae_plugin.applications.defense.contenders import contenders
        from mm_sae_plugin.applications.defense.robustness import check_self_tests, run_robustness
        from mm_sae_plugin.applications.defense.tasks import Captioned
        from mm_sae_plugin.applications.defense.towers import read_towers
        from mm_sae_plugin.report.robustness import (
            VERDICTS,
            robustness_table,
            told_of_detector,
            write_robustness_figure,
        )

        if self.n_workers < 1:
            raise UserError(f"--n-workers must be at least 1, not {self.n_workers}.")
        refuse_unwritable(self.out / _RECORD, self.out / _FIGURE)
        torch.set_num_threads(1)
        cfg = self.cfg.quick() if self.quick else self.cfg
        towers = [] if self.towers is None else read_towers(self.towers)
        seen = {key for tower in towers for key in tower.pictures}
        own = self.task.own_task(cfg.n, cfg.seed, seen)
        if own is not None and seen:
            print(f"The {len(seen):,} pictures that towers were trained on are left out.")
        if self.quick and towers:
            first = min(tower.seed for tower in towers)
            towers = [tower for tower in towers if tower.seed == first]
        model, study = open_model(self.choice, self.sae, self.acts)
        found = contenders(model, towers, _training_free(model, study, self.quick))
        tasks = [own] if own is not None else _world_tasks(cfg, self.quick)
        held_out = [] if own is not None or self.quick else _held_out(cfg)
        captioned = Captioned.of_world() if own is None else None
        told: dict[str, Any] = {
            "quick": self.quick,
            "images": None if self.task.images is None else self.task.images.name,
            "sae_id": None if study is None else study.sae_id,
            "store_key": None if study is None else study.store.manifest.key,
            "towers": [tower.card for tower in towers],
        }
        record = run_robustness(
            found, tasks, cfg, self.out, captioned, told, study, held_out, self.n_workers
        )
        rich_print(robustness_table(record))
        for name, test in record["self_tests"].items():
            print(f"{'passed' if test['passed'] else 'FAILED'}  {name}: {test['told']}")
        for name, detector in (record["detection"] or {}).items():
            print(told_of_detector(name, detector))
        for name, question in VERDICTS.items():
            print(f"{question} {record[name]['verdict'].capitalize()}. {record[name]['reason']}")
        figure = write_robustness_figure(record, self.out / _FIGURE)
        print(f"All figures are in {self.out / _RECORD}, the drawing is {figure}.")
        check_self_tests(record)


def _training_free(model: HookedCLIP, study: Study | None, quick: bool) -> dict[str, Any]:
    from mm_sae_plugin.applications.defense.training_free import first_arms, training_free_arms

    if study is None:
        return {}
    return first_arms(study, model) if quick else training_free_arms(study, model)


def _held_out(cfg: RobustnessConfig) -> list[Task]:
    from mm_sae_plugin.applications.defense.tasks import HELD_OUT, Task

    return [Task.of_world(name, cfg.n_others) for name in HELD_OUT]


def _world_tasks(cfg: RobustnessConfig, quick: bool) -> list[Task]:
    from mm_sae_plugin.applications.defense.tasks import TASKS, Task

    # The first is what attacks hit most, the last is image-dominant.
    names = (TASKS[0], TASKS[-1]) if quick else TASKS
    return [Task.of_world(name, cfg.n if name == TASKS[0] else cfg.n_others) for name in names]
