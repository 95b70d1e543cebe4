"""Opening a training checkpoint of SAELens as the SAE that it would have been saved as.

A checkpoint holds the training SAE: other architectures than at inference (batchtopk is saved as
jumprelu), norms that are not folded yet, and the trainer's scaling of the activations in a file
beside. Read as an SAE it is refused, or opens with other codes than in training.
"""

from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE, TrainingSAE
from sae_lens.training.activation_scaler import ActivationScaler

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json

# Its import puts the plugin's own architectures into SAELens' registry.
from mm_sae_plugin.saes import architectures  # noqa: F401
from mm_sae_plugin.saes.folder_files import CFG_FILENAME, SCALER_FILENAME

# Normalisations that SAELens' trainer applies itself and folds into the weights at the end.
_OF_THE_TRAINER = ("expected_average_only_in", "covariance_whitening")


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a training SAE rather than one for inference."""
    content = parse_json((folder / CFG_FILENAME).read_text(encoding="utf-8"))
    # Every training config has it and no inference config does; old formats have no metadata.
    return "decoder_init_norm" in content and "metadata" in content


@torch.no_grad()
def load_checkpoint(folder: Path, device: str = "cpu") -> SAE[Any]:
    """Return the inference SAE that a training would save at a checkpoint.

    Parameters
    ----------
    folder : Path
        A checkpoint of SAELens' trainer.
    device : str
        Where to put the weights.

    Raises
    ------
    UserError
        If the trainer normalised the activations and its file is gone.
    """
    training = TrainingSAE.load_from_disk(folder, device=device)
    normalization = training.cfg.normalize_activations
    if normalization in _OF_THE_TRAINER:
        if not (folder / SCALER_FILENAME).is_file():
            raise UserError(
                f"{folder / SCALER_FILENAME} is missing, and without it the checkpoint's "
                f"{normalization!r} normalisation is unknown: copy it from where it was trained."
            )
        _fold(training, folder)
    state = dict(training.state_dict())
    training.process_state_dict_for_saving_inference(state)
    sae = SAE.from_dict(training.cfg.get_inference_sae_cfg_dict())
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    return sae


def _fold(training: TrainingSAE[Any], folder: Path) -> None:
    """Fold the trainer's scaling into the weights, as it does itself after the last step."""
    scaler = ActivationScaler()
    scaler.load(folder / SCALER_FILENAME)
    if scaler.scaling_factor is not None:
        training.fold_activation_norm_scaling_factor(scaler.scaling_factor)
    if scaler.whitening is not None:
        training.fold_activation_whitening(
            mean=scaler.whitening.mean,
            whitening_matrix=scaler.whitening.matrix,
            unwhitening_matrix=scaler.whitening.inverse_matrix,
        )
