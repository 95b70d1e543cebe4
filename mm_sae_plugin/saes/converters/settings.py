"""The notes that other toolkits keep beside their weights, and what SAELens wants instead."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sae_lens

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.modality import TOWERS

CfgAndState = tuple[dict[str, Any], dict[str, Any]]
"""What a converter returns: a SAELens config as a dictionary, and the tensors by name."""


def read_settings(text: str | bytes, path: Path) -> dict[str, Any]:
    """Parse settings.

    Raises
    ------
    UserError
        If they are no JSON, or not a JSON object.
    """
    try:
        content = parse_json(text if isinstance(text, str) else text.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read: its settings are no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: its settings are no JSON object.")
    return content


def setting(settings: Mapping[str, Any], *names: str, path: Path) -> Any:
    """Return the first of some settings that is there.

    Raises
    ------
    UserError
        If none is, or it is None; without it the codes are unknown.
    """
    for name in names:
        if settings.get(name) is not None:
            return settings[name]
    raise UserError(
        f"{path} does not say {' or '.join(names)}, and without it the SAE's codes are unknown: "
        "add it to the settings."
    )


def width(settings: Mapping[str, Any], *names: str, path: Path) -> int:
    """Return a setting that is a whole number of at least 1."""
    value = setting(settings, *names, path=path)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{names[0]} in {path} is {value!r}, not a whole number of at least 1.")
    return value


def sae_lens_cfg(
    architecture: str,
    d_in: int,
    d_sae: int,
    device: str,
    metadata: Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
    dtype: str = "float32",
    **further: Any,
) -> dict[str, Any]:
    """Return the config dictionary that SAELens builds an SAE from."""
    return {
        "architecture": architecture,
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": dtype,
        "device": device,
        "reshape_activations": "none",
        "metadata": {
            # Without a version SAELens takes a config for one of its own first formats.
            "sae_lens_version": sae_lens.__version__,
            "sae_lens_training_version": None,
            **metadata,
        },
        **further,
        **(overrides or {}),
    }


def hook_metadata(hook_name: str) -> dict[str, str | None]:
    """Return the metadata of an SAE that was trained at one tower's hook."""
    noted: dict[str, str | None] = {"hook_name": hook_name}
    for modality, tower in TOWERS.items():
        is_here = hook_name.startswith(f"{tower}.")
        noted[f"hook_name_{modality}"] = hook_name if is_here else None
    return noted
