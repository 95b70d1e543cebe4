"""SAEs of ViT-Prisma (Joseph et al. 2025, arXiv 2504.19475) as SAELens SAEs.

A folder of Prisma holds ``config.json``, the fields of its runner's config, and one weights file
(``weights.pt``, ``n_images_*.pt``): a state dict, or ``{"cfg": …, "state_dict": …}`` whose ``cfg``
is an instance of Prisma's class. That instance is read as plain values; Prisma is not needed.

Prisma's formulas are SAELens' own, as is the orientation of the weights (``W_enc [d_in, d_sae]``):
x is normalised (``layer_norm``: over the vector, with the unbiased spread), b_dec is subtracted,
codes are ``act((x - b_dec) W_enc + b_enc)``, and ``codes W_dec + b_dec`` is brought back.

Prisma's own loader folds layer norms and centres what is written to the residual stream. An SAE
behind ``layer_norm`` has the same codes without that, since its own norm takes the mean away.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.converters.downloading import converted_download
from mm_sae_plugin.saes.converters.settings import (
    CfgAndState,
    hook_metadata,
    read_settings,
    sae_lens_cfg,
    setting,
    width,
)
from mm_sae_plugin.saes.converters.weights import Inert, load_plainly, read_bytes, state_of_sae

SETTINGS_FILENAME = "config.json"
_PACKAGE = "vit_prisma"
# Prisma's sites in a block to ours; what is missing here has no counterpart.
SITES = {
    "hook_resid_pre": "hook_resid_pre",
    "hook_attn_out": "hook_attn_out",
    "mlp.hook_post": "hook_mlp_post",
    "hook_mlp_out": "hook_mlp_out",
    "hook_resid_post": "hook_resid_post",
}
_NORMALIZATIONS = ("none", "layer_norm", "constant_norm_rescale")


def prisma_converter(
    path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None
) -> CfgAndState:
    """Read an SAE of Prisma from disk: ``SAE.load_from_disk(path, converter=prisma_converter)``.

    Parameters
    ----------
    path : str or Path
        Prisma's folder, or the weights file in it where there are several.
    device : str
        Where to put the weights.
    cfg_overrides : dict, optional
        Entries of SAELens' config to replace, such as ``dtype``.

    Returns
    -------
    cfg : dict
        SAELens' config; ``metadata`` names the model as ``load_model`` takes it, and our hook.
    state : dict of str to Tensor
        The weights.

    Raises
    ------
    UserError
        If a file is missing, damaged or holds code; if a setting or tensor is missing; if it is a
        transcoder, of one head, or of an architecture that SAELens cannot compute.
    """
    file = weights_file(Path(path))
    content = load_plainly(read_bytes(file), file, device, inert_package=_PACKAGE)
    noted = None
    if isinstance(content, Mapping) and "state_dict" in content:
        noted, content = content.get("cfg"), content["state_dict"]
    settings, place = _settings(file, noted)
    architecture, further = _architecture(settings, place)
    d_in, d_sae = width(settings, "d_in", path=place), _d_sae(settings, place)
    overrides = dict(cfg_overrides or {})
    dtype = str(overrides.pop("dtype", None) or _dtype(settings))
    shapes = {
        "W_enc": (d_in, d_sae),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
        **{name: (d_sae,) for name in _vectors(architecture)},
    }
    if architecture == "gated" and isinstance(content, Mapping):
        # Prisma keeps an encoder bias that its gated encoder never reads.
        content = {name: tensor for name, tensor in content.items() if name != "b_enc"}
    state = state_of_sae(content, file, shapes, dtype)
    cfg = sae_lens_cfg(
        architecture,
        d_in,
        d_sae,
        device,
        _metadata(settings, place),
        overrides,
        dtype,
        apply_b_dec_to_input=True,
        normalize_activations=_normalization(settings, place),
        **further,
    )
    return cfg, state


def prisma_hub_converter(
    repo_id: str,
    folder_name: str,
    device: str = "cpu",
    force_download: bool = False,
    cfg_overrides: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any], None]:
    """Read an SAE of Prisma from the hub.

    ``SAE.from_pretrained("Prisma-Multimodal/…", "weights.pt", converter=prisma_hub_converter)``;
    the second argument is the weights file in the repository.

    See Also
    --------
    prisma_converter : Parameters and errors.
    """
    return converted_download(
        prisma_converter, repo_id, folder_name, device, force_download, cfg_overrides
    )


def weights_file(path: Path) -> Path:
    """Return the one weights file that a path means.

    Raises
    ------
    UserError
        If there is none, or several.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("*.pt")) if path.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{path} holds no weights file of Prisma (*.pt): give the folder of one.")
    names = ", ".join(file.name for file in found)
    raise UserError(f"{path} holds several weights files ({names}): give the path of one.")


def _settings(file: Path, noted: Any) -> tuple[Mapping[str, Any], Path]:
    """Prisma's settings, and the file that they stand in."""
    beside = file.with_name(SETTINGS_FILENAME)
    if beside.is_file():
        return read_settings(read_bytes(beside), beside), beside
    if isinstance(noted, Inert):
        return vars(noted), file
    raise UserError(
        f"{file} has no {SETTINGS_FILENAME} beside it, and without it the SAE's codes are unknown: "
        "copy it from where the weights come from."
    )


def _architecture(settings: Mapping[str, Any], place: Path) -> tuple[str, dict[str, Any]]:
    """SAELens' architecture and what its config has besides."""
    if settings.get("is_transcoder"):
        raise UserError(f"{place} describes a transcoder: only SAEs can be read.")
    if settings.get("hook_point_head_index") is not None:
        raise UserError(f"{place} describes an SAE of a single attention head, which has no hook.")
    kind = setting(settings, "architecture", path=place)
    function = setting(settings, "activation_fn_str", path=place)
    if (kind, function) == ("standard", "topk"):
        kwargs = settings.get("activation_fn_kwargs") or {}
        return "topk", {"k": width(kwargs, "k", path=place), "rescale_acts_by_decoder_norm": False}
    if kind in ("standard", "gated") and function == "relu":
        return str(kind), {}
    raise UserError(
        f"{place} describes a {kind!r} SAE with the activation function {function!r}, which "
        "SAELens has no equal of: standard ones with relu or topk, and gated ones with relu can be "
        "read."
    )


def _vectors(architecture: str) -> tuple[str, ...]:
    return ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc",)


def _d_sae(settings: Mapping[str, Any], place: Path) -> int:
    if settings.get("d_sae") is not None:
        return width(settings, "d_sae", path=place)
    return width(settings, "d_in", path=place) * width(settings, "expansion_factor", path=place)


def _normalization(settings: Mapping[str, Any], place: Path) -> str:
    method = setting(settings, "normalize_activations", path=place)
    if method not in _NORMALIZATIONS:
        raise UserError(
            f"{place} says normalize_activations {method!r}, which is not known: it is one of "
            f"{', '.join(_NORMALIZATIONS)}."
        )
    return str(method)


def _dtype(settings: Mapping[str, Any]) -> str:
    dtype = settings.get("dtype") or "float32"
    if isinstance(dtype, Mapping):
        # In JSON: {"__type__": "torch.dtype", "value": "torch.float32"}.
        dtype = dtype.get("value", "float32")
    return str(dtype).removeprefix("torch.")


def _metadata(settings: Mapping[str, Any], place: Path) -> dict[str, Any]:
    layer = setting(settings, "hook_point_layer", path=place)
    if not isinstance(layer, int):
        raise UserError(f"hook_point_layer in {place} is {layer!r}, not the number of a layer.")
    site = str(setting(settings, "layer_subtype", path=place))
    theirs = f"blocks.{layer}.{site}"
    is_text = "Text" in str(settings.get("model_class_name") or "")
    hooks: dict[str, Any] = {}
    if site in SITES:
        hooks = hook_metadata(f"{'text' if is_text else 'vision'}.blocks.{layer}.{SITES[site]}")
    tokens = "class token" if settings.get("cls_token_only") else "all"
    return {
        **hooks,
        "model_name": _model_name(str(settings.get("model_name") or "")),
        "dataset_path": settings.get("dataset_name"),
        "converted_from": "ViT-Prisma",
        "source_hook_name": theirs,
        "trained_on_tokens": "patches" if settings.get("use_patches_only") else tokens,
    }


def _model_name(theirs: str) -> str:
    """The name by which ``load_model`` opens the model that Prisma calls ``theirs``."""
    if theirs.startswith("open-clip:"):
        return f"hf-hub:{theirs.removeprefix('open-clip:')}"
    return f"hf:{theirs}" if "/" in theirs else theirs
