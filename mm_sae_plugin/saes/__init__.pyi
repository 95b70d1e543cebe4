from .aligned import (
    AlignedTopKTrainingSAE as AlignedTopKTrainingSAE,
    AlignedTopKTrainingSAEConfig as AlignedTopKTrainingSAEConfig,
)
from .architectures import training_sae_config as training_sae_config
from .converters import convert_sae as convert_sae
from .encoder_check import check_encoder as check_encoder, check_tower as check_tower
from .folder import load_sae as load_sae
from .group_sparse import (
    GroupTopKTrainingSAE as GroupTopKTrainingSAE,
    GroupTopKTrainingSAEConfig as GroupTopKTrainingSAEConfig,
)
from .hub import download_sae as download_sae, push_sae as push_sae
from .normalization import (
    ModalityNormalization as ModalityNormalization,
    fold_normalization as fold_normalization,
)
from .sparse.batchtopk import (
    SparseBatchTopKTrainingSAE as SparseBatchTopKTrainingSAE,
    SparseBatchTopKTrainingSAEConfig as SparseBatchTopKTrainingSAEConfig,
)
from .sparse.topk import (
    SparseTopKTrainingSAE as SparseTopKTrainingSAE,
    SparseTopKTrainingSAEConfig as SparseTopKTrainingSAEConfig,
)
from .untrained import untrained_sae as untrained_sae
