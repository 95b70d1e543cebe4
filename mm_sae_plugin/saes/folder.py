"""The SAE folder: SAELens' own files, and what of ours lies beside them."""

from pathlib import Path
from typing import Any

from sae_lens import SAE

from mm_sae_plugin.errors import UserError, kind_of, one_line
from mm_sae_plugin.saes.checkpoint import is_checkpoint, load_checkpoint
from mm_sae_plugin.saes.folder_files import (
    CFG_FILENAME,
    NORMALIZATION_FILENAME,
    SCALER_FILENAME,
    WEIGHTS_FILENAME,
    WHITENING_FILENAME,
    check_files,
    refuse_no_sae,
)
from mm_sae_plugin.saes.normalization import ModalityNormalization

# What the codes depend on.
_READ = (
    CFG_FILENAME,
    WEIGHTS_FILENAME,
    NORMALIZATION_FILENAME,
    SCALER_FILENAME,
    WHITENING_FILENAME,
)


def load_sae(path: str | Path, device: str = "cpu") -> tuple[SAE[Any], ModalityNormalization]:
    """Load an SAE and the normalisation it was trained behind.

    Parameters
    ----------
    path : str or Path
        A folder written by ``MultimodalSAETrainingRunner`` or by SAELens itself, or a checkpoint
        of either: that opens as the SAE that the training would have saved there.
    device : str
        Where to put the weights.

    Returns
    -------
    sae : SAE
        In evaluation mode, its parameters without gradients.
    normalization : ModalityNormalization
        The identity for SAEs that need none.

    Raises
    ------
    UserError
        If the folder holds no SAE, or a file that is not as it was written, which is named.
    """
    if not isinstance(path, str | Path):
        raise UserError(f"load_sae takes the folder of an SAE, not {kind_of(path)}.")
    folder = Path(path)
    refuse_no_sae(folder)
    check_files(folder, *_READ)
    try:
        if is_checkpoint(folder):
            sae = load_checkpoint(folder, device)
        else:
            sae = SAE.load_from_disk(folder, device=device)
    except UserError:
        raise
    except Exception as error:
        # SAELens raises whatever the JSON, safetensors or torch reader happened to raise.
        raise UserError(
            f"The SAE in {folder} cannot be read ({one_line(error)}); train or copy it again."
        ) from error
    sae.eval().requires_grad_(False)
    method = sae.cfg.metadata.normalization or "none"
    return sae, ModalityNormalization.load(folder, method, sae.cfg.d_in)
