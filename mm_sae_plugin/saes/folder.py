"""The SAE folder: SAELens' own files, and what of ours lies beside them."""

from pathlib import Path
from typing import Any

from sae_lens import SAE
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.normalization import ModalityNormalization


def load_sae(path: str | Path, device: str = "cpu") -> tuple[SAE[Any], ModalityNormalization]:
    """Load an SAE and the normalisation it was trained behind.

    Parameters
    ----------
    path : str or Path
        A folder written by ``MultimodalSAETrainingRunner`` or by SAELens itself.
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
        If the folder holds no SAE or a damaged one.
    """
    folder = Path(path)
    for name in (SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is not an SAE folder: it has no {name}; give the folder that training "
                "wrote with --out."
            )
    try:
        sae = SAE.load_from_disk(folder, device=device)
    except Exception as error:
        # SAELens raises whatever the JSON, safetensors or torch reader happened to raise.
        raise UserError(
            f"The SAE in {folder} cannot be read ({error}); train or copy it again."
        ) from error
    sae.eval().requires_grad_(False)
    method = sae.cfg.metadata.normalization or "none"
    return sae, ModalityNormalization.load(folder, method, sae.cfg.d_in)
