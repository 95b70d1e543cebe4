"""Sparse autoencoders beside SAELens' own, and the one interface every dictionary answers.

The names are resolved on first use, so that importing the package stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_sae_plugin.saes.architectures import training_sae_config
    from mm_sae_plugin.saes.feature_map import FeatureMap, RawDimensions, SAEFeatureMap
    from mm_sae_plugin.saes.folder import check_encoder, load_sae
    from mm_sae_plugin.saes.normalization import (
        ModalityNormalization,
        NormalizedActivations,
        fold_normalization,
    )
    from mm_sae_plugin.saes.untrained import untrained_sae

_HOMES = {
    "FeatureMap": "feature_map",
    "ModalityNormalization": "normalization",
    "NormalizedActivations": "normalization",
    "RawDimensions": "feature_map",
    "SAEFeatureMap": "feature_map",
    "check_encoder": "folder",
    "fold_normalization": "normalization",
    "load_sae": "folder",
    "training_sae_config": "architectures",
    "untrained_sae": "untrained",
}

__all__ = [
    "FeatureMap",
    "ModalityNormalization",
    "NormalizedActivations",
    "RawDimensions",
    "SAEFeatureMap",
    "check_encoder",
    "fold_normalization",
    "load_sae",
    "training_sae_config",
    "untrained_sae",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
