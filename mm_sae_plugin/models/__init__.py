"""Real CLIP-like models with hook points in both towers."""

from typing import TYPE_CHECKING

from mm_sae_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from mm_sae_plugin.models.config import HookedCLIPConfig
    from mm_sae_plugin.models.hooked_clip import HookedCLIP
    from mm_sae_plugin.models.loading import load_model

__all__ = ["HookedCLIP", "HookedCLIPConfig", "load_model"]

_HOMES = {
    "HookedCLIP": "mm_sae_plugin.models.hooked_clip",
    "HookedCLIPConfig": "mm_sae_plugin.models.config",
    "load_model": "mm_sae_plugin.models.loading",
}

__getattr__ = lazy_names(__name__, _HOMES)
