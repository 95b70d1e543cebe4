"""Statistics of latents over image–text pairs: sums, scores, intervals, classes, nulls, truth.

The names are resolved on first use, so that importing a config costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_sae_plugin.stats.accumulator import ModalityStatistics
    from mm_sae_plugin.stats.compute import compute_modality
    from mm_sae_plugin.stats.config import ModalityConfig
    from mm_sae_plugin.stats.dominance import ModalityDominance
    from mm_sae_plugin.stats.examples import TopExamples, top_examples
    from mm_sae_plugin.stats.gap import modality_gap_cosine
    from mm_sae_plugin.stats.nulls import SwapNull, swap_null
    from mm_sae_plugin.stats.truth import TruthCheck, truth_check

_HOMES = {
    "ModalityConfig": "config",
    "ModalityDominance": "dominance",
    "ModalityStatistics": "accumulator",
    "SwapNull": "nulls",
    "TopExamples": "examples",
    "TruthCheck": "truth",
    "compute_modality": "compute",
    "modality_gap_cosine": "gap",
    "swap_null": "nulls",
    "top_examples": "examples",
    "truth_check": "truth",
}

__all__ = [
    "ModalityConfig",
    "ModalityDominance",
    "ModalityStatistics",
    "SwapNull",
    "TopExamples",
    "TruthCheck",
    "compute_modality",
    "modality_gap_cosine",
    "swap_null",
    "top_examples",
    "truth_check",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
