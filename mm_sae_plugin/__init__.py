"""Sparse autoencoders for models that see images and read text, beside SAELens.

Public names are loaded when they are first used, so that importing the package stays cheap.
"""

from typing import TYPE_CHECKING

from mm_sae_plugin.lazy import lazy_names

__version__ = "0.1.0"

_HOME = {
    "UserError": "mm_sae_plugin.errors",
    "FACTORS": "mm_sae_plugin.factorworld",
    "FactorWorld": "mm_sae_plugin.factorworld",
    "load_pairs": "mm_sae_plugin.pairs",
    "HookedCLIP": "mm_sae_plugin.models",
    "load_model": "mm_sae_plugin.models",
    "ActivationStore": "mm_sae_plugin.activations",
    "ExtractConfig": "mm_sae_plugin.activations",
    "extract": "mm_sae_plugin.activations",
    "SAEFeatureMap": "mm_sae_plugin.saes",
    "load_sae": "mm_sae_plugin.saes",
    "MultimodalSAERunnerConfig": "mm_sae_plugin.training",
    "MultimodalSAETrainingRunner": "mm_sae_plugin.training",
    "ModalityStatistics": "mm_sae_plugin.stats",
    "ModalityDominance": "mm_sae_plugin.stats",
    "compute_modality": "mm_sae_plugin.stats",
}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])


if TYPE_CHECKING:
    from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
    from mm_sae_plugin.errors import UserError
    from mm_sae_plugin.factorworld import FACTORS, FactorWorld
    from mm_sae_plugin.models import HookedCLIP, load_model
    from mm_sae_plugin.pairs import load_pairs
    from mm_sae_plugin.saes import SAEFeatureMap, load_sae
    from mm_sae_plugin.stats import ModalityDominance, ModalityStatistics, compute_modality
    from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
