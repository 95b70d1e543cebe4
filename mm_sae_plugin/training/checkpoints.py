"""Checkpoints: SAELens' own, plus the position in the data, and how to continue from one."""

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sae_lens.training.sae_trainer import SAETrainer

from mm_sae_plugin.activations.provider import ActivationBatches
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import write_json_atomically

# Written last: a checkpoint without it was cut off and is passed over.
STATE_FILENAME = "multimodal_state.json"


def write_state(folder: Path, provider: ActivationBatches, identity: Mapping[str, Any]) -> None:
    """Complete a checkpoint that SAELens has written: the provider's place, the run's identity."""
    state = {"provider": provider.state_dict(), "identity": dict(identity)}
    write_json_atomically(folder / STATE_FILENAME, state)


def newest_checkpoint(folder: Path | None) -> Path | None:
    """Return the complete checkpoint that is furthest along, or None."""
    if folder is None or not folder.is_dir():
        return None
    complete = [path.parent for path in folder.glob(f"*/{STATE_FILENAME}")]
    return max(complete, key=_n_batches, default=None)


def restore(
    checkpoint: Path,
    trainer: SAETrainer[Any, Any],
    provider: ActivationBatches,
    identity: Mapping[str, Any],
) -> None:
    """Bring a fresh trainer and provider to where a checkpoint was taken.

    Raises
    ------
    UserError
        If the checkpoint belongs to another run: other data, another schedule, another SAE.
    """
    state = json.loads((checkpoint / STATE_FILENAME).read_text(encoding="utf-8"))
    # Through JSON, so that tuples and lists compare equal.
    own = json.loads(json.dumps(dict(identity)))
    for name in sorted(own.keys() | state["identity"].keys()):
        was, now = state["identity"].get(name), own.get(name)
        if was != now:
            raise UserError(
                f"The checkpoint {checkpoint} was made with {name} = {was}, this run has {name} = "
                f"{now}: resume with the configuration it was started with, or train into "
                "another folder."
            )
    try:
        trainer.load_trainer_state(checkpoint)
        trainer.sae.load_weights_from_checkpoint(checkpoint)
    except Exception as error:
        raise UserError(
            f"The checkpoint {checkpoint} cannot be read ({error}): remove that folder and resume "
            "from an earlier one."
        ) from error
    provider.load_state_dict(state["provider"])
    # SAELens saves a checkpoint before it counts the step.
    batch_size = trainer.cfg.train_batch_size_samples
    trainer.n_training_steps = trainer.n_training_samples // batch_size
    # Otherwise each step would save one, until the list has caught up.
    trainer.checkpoint_thresholds = [
        n for n in trainer.checkpoint_thresholds if n >= trainer.n_training_samples
    ]


@contextmanager
def full_disk_is_told(folder: Path) -> Iterator[None]:
    """Turn the many exceptions for a full disk into one clear sentence."""
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        # safetensors and torch.save wrap the system's error in their own.
        if not full and "No space left" not in str(error) and "os error 28" not in str(error):
            raise
        raise UserError(
            f"The disk is full: {folder} was not written whole; free some space and run the same "
            "command again with resume (--resume)."
        ) from error


def _n_batches(checkpoint: Path) -> int:
    state = json.loads((checkpoint / STATE_FILENAME).read_text(encoding="utf-8"))
    return int(state["provider"]["n_batches"])
