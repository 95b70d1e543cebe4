"""``sparse_topk``: TopK SAEs trained sparsely, saved as SAELens' ``topk``."""

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from sae_lens import TopKSAEConfig, TopKTrainingSAEConfig, register_sae_training_class
from sae_lens.saes.sae import SAEConfig
from torch import Tensor

from mm_sae_plugin.saes.sparse import encode, without_sync
from mm_sae_plugin.saes.sparse.codes import SparseCodes
from mm_sae_plugin.saes.sparse.step import SparseTrainingStep, check_sparse_config


@dataclass
class SparseTopKTrainingSAEConfig(TopKTrainingSAEConfig):
    """SAELens' ``TopKTrainingSAEConfig``, trained sparsely.

    Parameters
    ----------
    sparse_kernels : bool, optional
        Whether steps are sparse. None: where that was measured to be faster, on the CPU with at
        least 16 latents for every active one and 2^24 multiplications in ``x @ W_enc``. On other
        devices it has not been measured.

    Raises
    ------
    UserError
        If SAELens' own ``use_sparse_activations`` is set.
    """

    sparse_kernels: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sparse_config(self)

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
        return encode.select_topk(blocks, self.cfg.k, self.cfg.d_sae)

    def select_without_sync(self, hidden: Float[Tensor, "batch d_sae"]) -> SparseCodes:
        """Return the k largest pre-activations of each row."""
        return without_sync.select_topk(hidden, self.cfg.k)


register_sae_training_class("sparse_topk", SparseTopKTrainingSAE, SparseTopKTrainingSAEConfig)
