"""Saving what was trained when a training is cut short, and saying what was saved."""

import shutil
from pathlib import Path

from mm_sae_plugin.training import checkpoints
from mm_sae_plugin.training.place import is_full_disk
from mm_sae_plugin.training.trainer import WatchedTrainer

_INTERRUPTED = "interrupted_"
_AGAIN = "the same again with resume=True (--resume)"


class Rescue:
    """Checkpoints of a training that ends before its time.

    Parameters
    ----------
    folder : Path, optional
        Where checkpoints lie; None where nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def interrupted(self, trainer: WatchedTrainer, how: str = "Interrupted") -> str:
        """Save a checkpoint after an interruption, and return the sentence that says so.

        Parameters
        ----------
        trainer : WatchedTrainer
            What is saved; it is at rest between two steps.
        how : str
            How the sentence begins.
        """
        total = trainer.cfg.total_training_steps
        event = f"{how} at step {trainer.n_training_steps} of {total}"
        if trainer.n_training_steps == 0:
            return f"{how} before the first step; run the same again."
        if self.folder is None:
            return f"{event}; nothing is saved, since no out folder is set."
        saved = self._save(trainer, self.folder)
        if saved is None:
            return self._lost(event)
        return f"{event}; saved {saved}. Run {_AGAIN} to continue."

    def disk_is_full(self, trainer: WatchedTrainer, out: str) -> str:
        """Save a checkpoint where the SAE found no room, and return the sentence that says so."""
        saved = None if self.folder is None else self._save(trainer, self.folder)
        if saved is None:
            return self._lost("The training could not be saved")
        return (
            f"The disk is full: {out} was not written whole, but what was trained is in {saved}; "
            f"free some space and run {_AGAIN}."
        )

    def drop(self) -> None:
        """Delete what was saved, since the SAE is finished."""
        if self.folder is None or not self.folder.is_dir():
            return
        for path in self.folder.glob(f"{_INTERRUPTED}*"):
            shutil.rmtree(path, ignore_errors=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _save(self, trainer: WatchedTrainer, folder: Path) -> Path | None:
        """Return the checkpoint, or None if there is no room for one."""
        name = f"{_INTERRUPTED}{trainer.n_training_samples}"
        # One that was being written when the disk was found full is of no use, and in the way.
        for begun in (str(trainer.n_training_samples), name):
            checkpoints.drop_incomplete(folder / begun)
        try:
            trainer.save_checkpoint(name)
        except Exception as error:
            if not is_full_disk(error):
                raise
            checkpoints.drop_incomplete(folder / name)
            return None
        return folder / name

    def _lost(self, event: str) -> str:
        checkpoint = checkpoints.newest_checkpoint(self.folder)
        since = "" if checkpoint is None else f" since {checkpoint}"
        return (
            f"{event}: the disk is full, and what was trained{since} is lost; free some space and "
            f"run {_AGAIN}."
        )
