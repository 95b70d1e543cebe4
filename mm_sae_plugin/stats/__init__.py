"""Statistics of latents over image–text pairs: sums, scores, intervals, classes, nulls, truth.

The names are resolved on first use, so that importing a config costs nothing.
"""

from typing import TYPE_CHECKING

from mm_sae_plugin.lazy import lazy_names

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
    "ModalityConfig": "mm_sae_plugin.stats.config",
    "ModalityDominance": "mm_sae_plugin.stats.dominance",
    "ModalityStatistics": "mm_sae_plugin.stats.accumulator",
    "SwapNull": "mm_sae_plugin.stats.nulls",
    "TopExamples": "mm_sae_plugin.stats.examples",
    "TruthCheck": "mm_sae_plugin.stats.truth",
    "compute_modality": "mm_sae_plugin.stats.compute",
    "modality_gap_cosine": "mm_sae_plugin.stats.gap",
    "swap_null": "mm_sae_plugin.stats.nulls",
    "top_examples": "mm_sae_plugin.stats.examples",
    "truth_check": "mm_sae_plugin.stats.truth",
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

__getattr__ = lazy_names(__name__, _HOMES)
