"""Writing the SAE folder, so that it is there whole or not at all."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_lens import SAE
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import save_file

from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.saes.folder_files import (
    CFG_FILENAME,
    CHECKSUMS_FILENAME,
    EVALUATION_FILENAME,
    OWN,
    RUNNER_CFG_FILENAME,
    SPARSITY_FILENAME,
    remove_derived,
    written,
)
from mm_sae_plugin.saes.normalization import ModalityNormalization
from mm_sae_plugin.stats.reconstruction import PerModalityEvaluation
from mm_sae_plugin.training.place import PARTIAL

# All of the SAE's own but the checksums, which are of these.
_SAVED = tuple(name for name in OWN if name != CHECKSUMS_FILENAME)


def finished_sae(folder: str | Path) -> bool:
    """Whether a folder holds a saved SAE; its config is always written last."""
    return (Path(folder) / CFG_FILENAME).is_file()


def save_sae(
    trainer: SAETrainer[Any, Any],
    normalization: ModalityNormalization,
    out: Path | None,
    identity: Mapping[str, Any],
) -> SAE[Any]:
    """Save the inference SAE and return it as it is read back.

    Parameters
    ----------
    trainer : SAETrainer
        After ``fit``.
    normalization : ModalityNormalization
        Saved beside it unless it is the identity.
    out : Path, optional
        The SAE folder; without it the SAE only passes through a temporary one.
    identity : mapping
        The run's configuration, for ``runner_cfg.json``.
    """
    device = trainer.cfg.device
    if out is None:
        with tempfile.TemporaryDirectory() as temporary:
            trainer.sae.save_inference_model(temporary)
            return SAE.load_from_disk(temporary, device)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    # A sibling on the same disk, so that each file moves into place in one instant.
    with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as temporary:
        partial = Path(temporary)
        with written(partial, *_SAVED):
            trainer.sae.save_inference_model(partial)
            save_file({"sparsity": trainer.log_feature_sparsity}, partial / SPARSITY_FILENAME)
            normalization.save(partial)
            write_json_atomically(partial / RUNNER_CFG_FILENAME, dict(identity))
        # The old config goes first and the new one comes last: in between there is no SAE here,
        # rather than one with another's weights.
        (folder / CFG_FILENAME).unlink(missing_ok=True)
        remove_derived(folder)
        for name in OWN:
            if (partial / name).exists():
                (partial / name).replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    return SAE.load_from_disk(folder, device)


def save_evaluation(out: Path | None, evaluation: PerModalityEvaluation) -> None:
    """Write ``evaluation.json`` into the SAE folder, if there is one."""
    if out is not None:
        with written(out, EVALUATION_FILENAME):
            write_json_atomically(Path(out) / EVALUATION_FILENAME, evaluation.to_dict())
