"""``sparse_topk``: TopK SAEs trained sparsely, saved as SAELens' ``topk``."""

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from sae_lens import TopKSAEConfig, TopKTrainingSAEConfig, register_sae_training_class
from sae_lens.saes.sae import SAEConfig
from torch import Tensor

from mm_sae_plugin.saes.sparse import encode, without_sync
from mm_sae_plugin.saes.sparse.codes import SparseCodes
from mm_sae_plugin.saes.sparse.step import SparseStepConfig, SparseTrainingStep


@dataclass
class SparseTopKTrainingSAEConfig(SparseStepConfig, TopKTrainingSAEConfig):
    """SAELens' ``TopKTrainingSAEConfig``, trained sparsely; adds ``sparse_kernels``."""

    @classmethod
    def architecture(cls) -> str:
        """Return the name in SAELens' registry of training classes."""
        return "sparse_topk"

    def get_inference_config_class(self) -> type[SAEConfig]:
        """Return the config it is saved with, so that SAELens alone loads it."""
        return TopKSAEConfig


class SparseTopKTrainingSAE(SparseTrainingStep):
    """SAELens' ``TopKTrainingSAE`` with a sparse training step; a drop-in for it."""

    def select(self, blocks: Iterable[Float[Tensor, "n_rows d_sae"]], n_rows: int) -> SparseCodes:
        """Return the k largest pre-activations of each row."""
        return encode.select_topk(blocks, self.n_active, self.cfg.d_sae)

    def select_without_sync(self, hidden: Float[Tensor, "batch d_sae"]) -> SparseCodes:
        """Return the k largest pre-activations of each row."""
        return without_sync.select_topk(hidden, self.n_active)


register_sae_training_class("sparse_topk", SparseTopKTrainingSAE, SparseTopKTrainingSAEConfig)
