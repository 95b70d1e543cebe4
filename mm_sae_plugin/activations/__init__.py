"""Extracting paired activations, keeping them on disk, feeding them to a trainer."""

from typing import TYPE_CHECKING

from mm_sae_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from mm_sae_plugin.activations.config import ExtractConfig
    from mm_sae_plugin.activations.extract import extract
    from mm_sae_plugin.activations.manifest import SideStatistics, StoreManifest
    from mm_sae_plugin.activations.store import ActivationStore

__all__ = ["ActivationStore", "ExtractConfig", "SideStatistics", "StoreManifest", "extract"]

_HOMES = {
    "ActivationStore": "mm_sae_plugin.activations.store",
    "ExtractConfig": "mm_sae_plugin.activations.config",
    "SideStatistics": "mm_sae_plugin.activations.manifest",
    "StoreManifest": "mm_sae_plugin.activations.manifest",
    "extract": "mm_sae_plugin.activations.extract",
}

__getattr__ = lazy_names(__name__, _HOMES)
