"""The SAE folder: SAELens' own files, and what of ours lies beside them."""

from pathlib import Path
from typing import Any

from sae_lens import SAE, TrainingSAE
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


def check_encoder(sae: SAE[Any] | TrainingSAE[Any], store_or_model: Any) -> None:
    """Refuse to use an SAE with another encoder than the one it was trained on.

    An SAE without metadata about its encoder (trained elsewhere) is only checked for its width.

    Parameters
    ----------
    sae : SAE
        The SAE.
    store_or_model : ActivationStore or HookedCLIP
        Activations, or the model that makes them. A store is also checked for its hooks.

    Raises
    ------
    UserError
        Naming both encoders, both pairs of hooks, or both widths.
    """
    metadata = sae.cfg.metadata
    other = getattr(store_or_model, "manifest", None)
    is_store = other is not None
    described = other if is_store else getattr(store_or_model, "cfg", store_or_model)
    weights_id = getattr(described, "weights_id", None)
    if weights_id is None:
        weights_id = getattr(store_or_model, "weights_id", None)
    kind = "these activations come from" if is_store else "this model is"
    if metadata.weights_id and weights_id and metadata.weights_id != weights_id:
        raise UserError(
            f"The SAE was trained on {_encoder(metadata.model_name, metadata.weights_id)}, but "
            f"{kind} {_encoder(getattr(described, 'model_name', None), weights_id)}: "
            "use the encoder it was trained on, or train an SAE for this one."
        )
    if not is_store:
        return
    for side in ("image", "text"):
        trained_at = metadata[f"hook_name_{side}"]
        stored_at = getattr(other, f"{side}_hook", None)
        if trained_at and stored_at and trained_at != stored_at:
            raise UserError(
                f"The SAE was trained at {trained_at!r}, but the store holds {stored_at!r} of the "
                f"same model: extract activations at {trained_at!r}."
            )
    width = getattr(other, "d_image", None) or getattr(other, "d_text", None)
    if width and width != sae.cfg.d_in:
        raise UserError(
            f"The SAE takes vectors of width {sae.cfg.d_in}, but the store's are {width} wide: "
            "use activations of the encoder and hook it was trained on."
        )


def _encoder(model_name: str | None, weights_id: str) -> str:
    return f"{model_name} ({weights_id})" if model_name else weights_id
