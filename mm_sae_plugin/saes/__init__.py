"""Sparse autoencoders beside SAELens' own, and the one interface every dictionary answers.

The names are resolved on first use, so that importing the package stays cheap.
"""

from typing import TYPE_CHECKING

from mm_sae_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from mm_sae_plugin.saes.architectures import training_sae_config
    from mm_sae_plugin.saes.feature_map import FeatureMap, RawDimensions, SAEFeatureMap
    from mm_sae_plugin.saes.folder import check_encoder, load_sae
    from mm_sae_plugin.saes.normalization import (
        ModalityNormalization,
        NormalizedActivations,
        fold_normalization,
    )
    from mm_sae_plugin.saes.sparse.batchtopk import (
        SparseBatchTopKTrainingSAE,
        SparseBatchTopKTrainingSAEConfig,
    )
    from mm_sae_plugin.saes.sparse.topk import SparseTopKTrainingSAE, SparseTopKTrainingSAEConfig
    from mm_sae_plugin.saes.untrained import untrained_sae

_HOMES = {
    "FeatureMap": "mm_sae_plugin.saes.feature_map",
    "ModalityNormalization": "mm_sae_plugin.saes.normalization",
    "NormalizedActivations": "mm_sae_plugin.saes.normalization",
    "RawDimensions": "mm_sae_plugin.saes.feature_map",
    "SAEFeatureMap": "mm_sae_plugin.saes.feature_map",
    "SparseBatchTopKTrainingSAE": "mm_sae_plugin.saes.sparse.batchtopk",
    "SparseBatchTopKTrainingSAEConfig": "mm_sae_plugin.saes.sparse.batchtopk",
    "SparseTopKTrainingSAE": "mm_sae_plugin.saes.sparse.topk",
    "SparseTopKTrainingSAEConfig": "mm_sae_plugin.saes.sparse.topk",
    "check_encoder": "mm_sae_plugin.saes.folder",
    "fold_normalization": "mm_sae_plugin.saes.normalization",
    "load_sae": "mm_sae_plugin.saes.folder",
    "training_sae_config": "mm_sae_plugin.saes.architectures",
    "untrained_sae": "mm_sae_plugin.saes.untrained",
}

__all__ = [
    "FeatureMap",
    "ModalityNormalization",
    "NormalizedActivations",
    "RawDimensions",
    "SAEFeatureMap",
    "SparseBatchTopKTrainingSAE",
    "SparseBatchTopKTrainingSAEConfig",
    "SparseTopKTrainingSAE",
    "SparseTopKTrainingSAEConfig",
    "check_encoder",
    "fold_normalization",
    "load_sae",
    "training_sae_config",
    "untrained_sae",
]

__getattr__ = lazy_names(__name__, _HOMES)
