"""SAEs of saev (OSU-NLP-Group; Stevens et al. 2025, arXiv 2502.06755) as SAELens SAEs.

``sae.pt`` is one line of JSON, the header, and then what ``torch.save`` wrote of a state dict with
``W_enc [d_in, d_sae]``, ``b_enc``, ``W_dec [d_sae, d_in]`` and ``b_dec``; an SAE with BatchTopK has
``activation.threshold`` besides. The header's schema says how the settings are written:

- none: the settings themselves, always ReLU; b_dec is subtracted before the encoder;
- 1: ``cls`` names the activation; written by versions that subtract b_dec and by others;
- 2 to 5: ``cfg.activation`` is ``{"cls", "params"}``; b_dec is not subtracted.

The file says neither model nor hook, and nothing of the centring and scaling that saev's data
loader can apply to activations; where it did, fold it with ``sae.fold_activation_whitening``.
Where fewer than k pre-activations are positive, saev's TopK keeps negative ones, SAELens' none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.converters.downloading import converted_download
from mm_sae_plugin.saes.converters.settings import (
    CfgAndState,
    read_settings,
    sae_lens_cfg,
    setting,
    width,
)
from mm_sae_plugin.saes.converters.weights import load_plainly, read_bytes, state_of_sae

WEIGHTS_FILENAME = "sae.pt"
THRESHOLD = "activation.threshold"
_SCHEMAS = range(6)


def saev_converter(
    path: str | Path,
    device: str = "cpu",
    cfg_overrides: dict[str, Any] | None = None,
    *,
    subtract_b_dec: bool | None = None,
) -> CfgAndState:
    """Read an SAE of saev from disk: ``SAE.load_from_disk(path, converter=saev_converter)``.

    Parameters
    ----------
    path : str or Path
        The file, or the folder with ``sae.pt``.
    device : str
        Where to put the weights.
    cfg_overrides : dict, optional
        Entries of SAELens' config to replace, such as ``dtype``.
    subtract_b_dec : bool, optional
        Whether the encoder subtracts b_dec first; by default as the file's schema says. Give it
        for schema 1 with ``functools.partial(saev_converter, subtract_b_dec=…)``.

    Returns
    -------
    cfg : dict
        SAELens' config. ReLU is ``standard``, TopK ``topk``, BatchTopK ``jumprelu`` with the
        threshold that it learned.
    state : dict of str to Tensor
        The weights.

    Raises
    ------
    UserError
        If the file is missing, damaged or holds code; if a setting or tensor is missing; if its
        activation depends on the rest of a batch, or is not known.
    """
    file = Path(path) / WEIGHTS_FILENAME if Path(path).is_dir() else Path(path)
    header, content = _header_and_content(file)
    schema = header.get("schema", 0)
    if schema not in _SCHEMAS or isinstance(schema, bool):
        raise UserError(f"{file} has the schema {schema!r}, which is not known: 1 to 5 are.")
    settings = setting(header, "cfg", path=file) if schema else header
    if not isinstance(settings, Mapping):
        raise UserError(f"{file} cannot be read: its settings, cfg, are no JSON object.")
    d_in = width(settings, "d_model", "d_vit", path=file)
    if "d_sae" in settings:
        d_sae = width(settings, "d_sae", path=file)
    else:
        d_sae = d_in * width(settings, "exp_factor", path=file)
    overrides = dict(cfg_overrides or {})
    dtype = str(overrides.pop("dtype", None) or "float32")
    loaded = load_plainly(content, file, device)
    is_thresholded = isinstance(loaded, Mapping) and THRESHOLD in loaded
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    if is_thresholded:
        shapes[THRESHOLD] = ()
    state = state_of_sae(loaded, file, shapes, dtype)
    architecture, further = _architecture(header, settings, schema, is_thresholded, file)
    if is_thresholded:
        # Below zero saev falls back to ReLU, which a threshold of zero is.
        threshold = float(state.pop(THRESHOLD).clamp_min(0))
        state["threshold"] = torch.full_like(state["b_enc"], threshold)
    if subtract_b_dec is None:
        subtract_b_dec = _subtracts(schema, state["b_dec"], file)
    cfg = sae_lens_cfg(
        architecture,
        d_in,
        d_sae,
        device,
        {"converted_from": "saev"},
        overrides,
        dtype,
        apply_b_dec_to_input=subtract_b_dec,
        normalize_activations="none",
        **further,
    )
    return cfg, state


def saev_hub_converter(
    repo_id: str,
    folder_name: str,
    device: str = "cpu",
    force_download: bool = False,
    cfg_overrides: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any], None]:
    """Read an SAE of saev from the hub.

    ``SAE.from_pretrained("osunlp/…", "sae.pt", converter=saev_hub_converter)``; the second argument
    is the file in the repository.

    See Also
    --------
    saev_converter : Parameters and errors.
    """
    return converted_download(
        saev_converter, repo_id, folder_name, device, force_download, cfg_overrides
    )


def _header_and_content(file: Path) -> tuple[dict[str, Any], bytes]:
    if not file.is_file():
        raise UserError(f"There is no {file}: give saev's {WEIGHTS_FILENAME} or its folder.")
    line, _, content = read_bytes(file).partition(b"\n")
    try:
        return read_settings(line, file), content
    except UserError as error:
        raise UserError(
            f"{file} does not begin with a line of JSON, as saev's files do: give saev's "
            f"{WEIGHTS_FILENAME}."
        ) from error


def _architecture(
    header: Mapping[str, Any],
    settings: Mapping[str, Any],
    schema: int,
    is_thresholded: bool,
    file: Path,
) -> tuple[str, dict[str, Any]]:
    """SAELens' architecture and what its config has besides."""
    name, params = _activation(header, settings, schema, file)
    if name == "Relu":
        return "standard", {}
    # Schema 2 alone wrote a BatchTopK that takes the k largest of each row.
    if name == "TopK" or (name == "BatchTopK" and schema == 2):
        k = width(params, "top_k", path=file)
        return "topk", {"k": k, "rescale_acts_by_decoder_norm": False}
    if name == "BatchTopK" and is_thresholded:
        return "jumprelu", {}
    if name == "BatchTopK":
        raise UserError(
            f"{file} keeps the largest codes of a whole batch and holds no threshold "
            f"({THRESHOLD}), so the codes of a row are not defined: train it with a newer saev."
        )
    raise UserError(
        f"{file} has the activation {name!r}, which SAELens has no equal of: Relu, TopK and "
        "BatchTopK can be read."
    )


def _activation(
    header: Mapping[str, Any], settings: Mapping[str, Any], schema: int, file: Path
) -> tuple[str, Mapping[str, Any]]:
    if schema == 0:
        return "Relu", {}
    if schema == 1 and "activation" not in settings:
        return str(setting(header, "cls", path=file)), settings
    activation = setting(settings, "activation", path=file)
    if not isinstance(activation, Mapping):
        raise UserError(f"{file} does not say its activation as a class with parameters.")
    return str(setting(activation, "cls", path=file)), activation.get("params") or {}


def _subtracts(schema: int, b_dec: Tensor, file: Path) -> bool:
    if schema == 1 and bool(b_dec.any()):
        raise UserError(
            f"{file} has the schema 1, which versions of saev wrote that subtract b_dec before the "
            "encoder and others that do not: say which, subtract_b_dec=True or False."
        )
    return schema == 0
