"""``mm-sae align``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.applications.defense.alignment_config import AlignmentConfig
from mm_sae_plugin.commands.model_choice import ModelChoice
from mm_sae_plugin.commands.task_choice import TaskChoice
from mm_sae_plugin.errors import UserError, check_seeds
from mm_sae_plugin.files import refuse_unwritable

if TYPE_CHECKING:
    from mm_sae_plugin.applications.defense.fine_tuning import FineTuning


@dataclass(frozen=True)
class AlignCommand:
    """Fine-tune an image tower against adversarial images, once for every arm and seed."""

    out: Path = Path("runs/towers")
    """Folder for one folder a tower; what is there already is kept, what is begun goes on."""
    arms: tuple[str, ...] = ()
    """What is kept of an attacked image: FARE (its whole vector), TeCoA (its label), readings (what
    all tasks read of it), "all latents", ImgD, TextD, CrossD, "random like TextD", "ImgD (paper)",
    "TextD (paper)", "CrossD (paper)"; by default FARE, TeCoA and readings, and with --sae all up to
    the random set."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One tower for each."""
    sae: Path | None = None
    """Folder of a labelled SAE of the joint space, for the arms that align latents."""
    acts: Path | None = None
    """Its activation store; by default the one that it was trained on."""
    n_images: int = 12_000
    """Pictures to train on; of one's own at most so many."""
    cfg: AlignmentConfig = field(default_factory=AlignmentConfig)
    task: TaskChoice = field(default_factory=TaskChoice)
    choice: ModelChoice = field(default_factory=lambda: ModelChoice(model=""))
    """By default the model of the SAE, else factorworld."""

    def run(self) -> None:
        """Fine-tune, and say where the towers lie."""
        import torch

        from mm_sae_plugin.applications.defense.arms import ARMS, PAPER_ARMS, WITHOUT_LATENTS
        from mm_sae_plugin.applications.defense.fine_tuning import folder_of
        from mm_sae_plugin.applications.defense.towers import CARD

        if self.n_images < 1:
            raise UserError(f"--n-images must be at least 1, not {self.n_images}.")
        arms = self.arms or (WITHOUT_LATENTS if self.sae is None else ARMS)
        for name in arms:
            if name not in ARMS + PAPER_ARMS:
                raise UserError(
                    f"There is no arm {name!r:.60}: choose from {', '.join(ARMS + PAPER_ARMS)}."
                )
            if self.sae is None and name not in WITHOUT_LATENTS:
                raise UserError(f"The arm {name!r} aligns latents: give a labelled SAE as --sae.")
        if self.cfg.seed:
            raise UserError("--seed is that of one tower: give --seeds, one for each.")
        if not self.seeds:
            raise UserError("--seeds names no seed: give one for each tower.")
        check_seeds(*self.seeds)
        paths = (folder_of(name, seed, self.out) for seed in self.seeds for name in arms)
        refuse_unwritable(*(path / CARD for path in paths))
        torch.set_num_threads(1)
        tuning = self._opened(arms)
        for seed in self.seeds:
            for name in arms:
                print(f"{name}, seed {seed}")
                tower = tuning.tower(name, seed, self.out, progress=True)
                print(f"  {tower.path}: {tower.card['seconds']} s")
        print(f"Judge them with `mm-sae robustness --towers {self.out}`.")

    def _opened(self, arms: Sequence[str]) -> FineTuning:
        from mm_sae_plugin.applications.defense.arms import WITHOUT_LATENTS, latents_of
        from mm_sae_plugin.applications.defense.fine_tuning import FineTuning
        from mm_sae_plugin.applications.defense.tasks import TASKS, Task
        from mm_sae_plugin.applications.defense.training_set import TrainingSet
        from mm_sae_plugin.commands.opened import open_model

        own = self.task.own_task(self.n_images, seed=0)
        model, study = open_model(self.choice, self.sae, self.acts)
        if study is not None:
            # An arm without latents would else be found out after those before it were trained.
            for name in arms:
                if name not in WITHOUT_LATENTS:
                    latents_of(name, study)
        if own is not None:
            return FineTuning(model, [own], TrainingSet.of_task(model, own), self.cfg, study)
        # Of these only the classes are used; the pictures to train on are others.
        tasks = [Task.of_world(name, 1) for name in TASKS]
        training = TrainingSet.of_world(model, tasks, self.n_images)
        return FineTuning(model, tasks, training, self.cfg, study)
