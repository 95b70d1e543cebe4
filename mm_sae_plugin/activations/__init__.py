"""Extracting paired activations, keeping them on disk, feeding them to a trainer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_sae_plugin.activations.config import ExtractConfig
    from mm_sae_plugin.activations.extract import extract
    from mm_sae_plugin.activations.manifest import SideStatistics, StoreManifest
    from mm_sae_plugin.activations.store import ActivationStore

__all__ = ["ActivationStore", "ExtractConfig", "SideStatistics", "StoreManifest", "extract"]

_HOMES = {
    "ActivationStore": "store",
    "ExtractConfig": "config",
    "SideStatistics": "manifest",
    "StoreManifest": "manifest",
    "extract": "extract",
}


def __getattr__(name: str) -> Any:
    # The command line needs the config alone, without waiting for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A module may have the name of what it holds, so the name is set once and for all.
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
