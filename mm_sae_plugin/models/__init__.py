"""Real CLIP-like models with hook points in both towers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_sae_plugin.models.config import HookedCLIPConfig
    from mm_sae_plugin.models.hooked_clip import HookedCLIP
    from mm_sae_plugin.models.loading import EMBEDDED_MODELS, load_model

__all__ = ["EMBEDDED_MODELS", "HookedCLIP", "HookedCLIPConfig", "load_model"]

_HOMES = {
    "EMBEDDED_MODELS": "loading",
    "HookedCLIP": "hooked_clip",
    "HookedCLIPConfig": "config",
    "load_model": "loading",
}


def __getattr__(name: str) -> Any:
    # Importing torch and SAELens takes seconds that a command such as `--help` need not pay.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
