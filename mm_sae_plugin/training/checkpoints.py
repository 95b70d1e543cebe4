"""Checkpoints: SAELens' own, plus the position in the data, and how to continue from one."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_lens.training.sae_trainer import SAETrainer

from mm_sae_plugin.activations.provider import ActivationBatches
from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.files import parse_json, path_from, write_json_atomically
from mm_sae_plugin.saes.folder_files import (
    CFG_FILENAME,
    CHECKSUMS_FILENAME,
    LABELS,
    RUNNER_CFG_FILENAME,
    check_files,
    written,
)
from mm_sae_plugin.saes.normalization import ModalityNormalization

_log = logging.getLogger(__name__)

# Written last: a checkpoint without it was cut off and is passed over.
STATE_FILENAME = "multimodal_state.json"


def complete(
    folder: Path,
    normalization: ModalityNormalization,
    provider: ActivationBatches,
    identity: Mapping[str, Any],
    store_path: Path | None = None,
) -> None:
    """Complete a checkpoint that SAELens has written: it opens, is checked, and can be resumed.

    Adds the normalisation, the way to the store, checksums of all files, the provider's place and
    the run's identity.
    """
    normalization.save(folder)
    if store_path is not None:
        _note_store(folder, store_path)
    with written(folder, *_files(folder)):
        pass
    state = {"provider": provider.state_dict(), "identity": dict(identity)}
    write_json_atomically(folder / STATE_FILENAME, state)


def newest_checkpoint(folder: Path | None) -> Path | None:
    """Return the complete checkpoint that is furthest along, or None."""
    if folder is None or not folder.is_dir():
        return None
    complete = [path.parent for path in folder.glob(f"*/{STATE_FILENAME}")]
    return max(complete, key=_n_batches, default=None)


def drop_incomplete(checkpoint: Path) -> None:
    """Delete a checkpoint unless it was written whole."""
    if not (checkpoint / STATE_FILENAME).is_file():
        shutil.rmtree(checkpoint, ignore_errors=True)


def restore(
    checkpoint: Path,
    trainer: SAETrainer[Any, Any],
    provider: ActivationBatches,
    identity: Mapping[str, Any],
    older_key: str,
) -> None:
    """Bring a fresh trainer and provider to where a checkpoint was taken.

    Parameters
    ----------
    checkpoint : Path
        A complete checkpoint.
    trainer, provider : SAETrainer, ActivationBatches
        What is brought there.
    identity : mapping
        What must agree with the checkpoint's.
    older_key : str
        What earlier versions would call the activations; a checkpoint that does is continued.

    Raises
    ------
    UserError
        If the checkpoint belongs to another run: other data, another schedule, another SAE.
    """
    state = _state(checkpoint)
    made = f"The checkpoint {checkpoint} was made"
    _refuse_other_run(made, state["identity"], identity, older_key)
    try:
        check_files(checkpoint, *_files(checkpoint))
        saved = parse_json((checkpoint / CFG_FILENAME).read_text(encoding="utf-8"))
        trainer.load_trainer_state(checkpoint)
        trainer.sae.load_weights_from_checkpoint(checkpoint)
    except Exception as error:
        raise UserError(_unreadable(checkpoint, error)) from error
    # After the last step it is folded into the weights, and must not be measured again.
    trainer.sae.cfg.normalize_activations = saved["normalize_activations"]
    provider.load_state_dict(state["provider"])
    # SAELens saves a checkpoint before it counts the step.
    batch_size = trainer.cfg.train_batch_size_samples
    trainer.n_training_steps = trainer.n_training_samples // batch_size
    # Otherwise each step would save one, until the list has caught up.
    trainer.checkpoint_thresholds = [
        n for n in trainer.checkpoint_thresholds if n >= trainer.n_training_samples
    ]


def check_finished(out: Path, identity: Mapping[str, Any], older_key: str) -> None:
    """Check that the SAE in a folder is what this very run would train.

    Raises
    ------
    UserError
        If it was trained with another configuration or on other data, or does not say.
    """
    path = out / RUNNER_CFG_FILENAME
    try:
        earlier = dict(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{out} holds an SAE that does not say how it was trained ({path.name} cannot be "
            f"read: {one_line(error)}): train into another folder, or overwrite it on purpose "
            "(--overwrite without --resume)."
        ) from error
    _refuse_other_run(f"The SAE in {out} was trained", earlier, identity, older_key)


def _refuse_other_run(
    made: str, earlier: Mapping[str, Any], identity: Mapping[str, Any], older_key: str
) -> None:
    # Through JSON, so that tuples and lists compare equal.
    own = json.loads(json.dumps(dict(identity)))
    if earlier.get("activations") == older_key != own.get("activations"):
        _log.warning(
            "%s by an earlier version, which looked at sums and a few rows of the activations: "
            "see to it yourself that they are the same.",
            made,
        )
        own["activations"] = older_key
    for name in sorted(own.keys() | earlier.keys()):
        was, now = earlier.get(name), own.get(name)
        if was != now:
            raise UserError(
                f"{made} with {name} = {was}, this run has {name} = {now}: resume with the "
                "configuration it was started with, or train into another folder."
            )


def _note_store(folder: Path, store_path: Path) -> None:
    # SAELens wrote the way from the SAE folder, and a checkpoint lies deeper than that.
    content = parse_json((folder / CFG_FILENAME).read_text(encoding="utf-8"))
    content["metadata"]["store_path"] = path_from(folder, store_path)
    write_json_atomically(folder / CFG_FILENAME, content)


def _files(checkpoint: Path) -> list[str]:
    names = {path.name for path in checkpoint.iterdir() if path.is_file()}
    # A checkpoint can be labelled, but a training does not go on from its labels.
    return sorted(names - {CHECKSUMS_FILENAME, STATE_FILENAME, *LABELS})


def _n_batches(checkpoint: Path) -> int:
    return int(_state(checkpoint)["provider"]["n_batches"])


def _state(checkpoint: Path) -> dict[str, Any]:
    try:
        return parse_json((checkpoint / STATE_FILENAME).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(_unreadable(checkpoint, error)) from error


def _unreadable(checkpoint: Path, error: Exception) -> str:
    return (
        f"The checkpoint {checkpoint} cannot be read ({one_line(error)}): remove that folder and "
        "resume from an earlier one."
    )
