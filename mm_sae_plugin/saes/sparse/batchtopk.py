"""``sparse_batchtopk``: BatchTopK SAEs trained sparsely, saved as SAELens' ``jumprelu``."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, register_sae_training_class
from sae_lens.saes.sae import TrainStepOutput
from torch import Tensor

from mm_sae_plugin.saes.global_batchtopk import GlobalBatchTopK
from mm_sae_plugin.saes.sparse import encode, without_sync
from mm_sae_plugin.saes.sparse.codes import SparseCodes
from mm_sae_plugin.saes.sparse.step import SparseStepConfig, SparseTrainingStep


@dataclass
class SparseBatchTopKTrainingSAEConfig(SparseStepConfig, BatchTopKTrainingSAEConfig):
    """SAELens' ``BatchTopKTrainingSAEConfig``, trained sparsely; adds ``sparse_kernels``."""

    @classmethod
    def architecture(cls) -> str:
        """Return the name in SAELens' registry of training classes."""
        return "sparse_batchtopk"


class SparseBatchTopKTrainingSAE(SparseTrainingStep, BatchTopKTrainingSAE):
    """SAELens' ``BatchTopKTrainingSAE`` with a sparse training step; a drop-in for it."""

    cfg: SparseBatchTopKTrainingSAEConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def select(self, blocks: Iterable[Float[Tensor, "n_rows d_sae"]], n_rows: int) -> SparseCodes:
        """Return the ``k * n_rows`` largest pre-activations."""
        if isinstance(self.activation_fn, GlobalBatchTopK):
            n_kept = self.activation_fn.n_kept(n_rows)
            codes = encode.select_batchtopk(blocks, n_kept, n_rows, self.cfg.d_sae)
            return self.activation_fn.kept_codes(codes, n_kept)
        n_kept = int(self.n_active * n_rows)
        return encode.select_batchtopk(blocks, n_kept, n_rows, self.cfg.d_sae)

    def select_without_sync(self, hidden: Float[Tensor, "batch d_sae"]) -> SparseCodes:
        """Return the ``k * batch`` largest pre-activations."""
        if isinstance(self.activation_fn, GlobalBatchTopK):
            n_kept = self.activation_fn.n_kept(len(hidden))
            codes = without_sync.select_batchtopk(hidden, min(n_kept, hidden.numel()))
            return self.activation_fn.kept_codes(codes, n_kept)
        return without_sync.select_batchtopk(hidden, int(self.n_active * len(hidden)))

    @torch.no_grad()
    def after_sparse_step(self, codes: SparseCodes, output: TrainStepOutput) -> None:
        """Move the threshold of the JumpReLU SAE that this one is saved as.

        It follows the smallest positive code of each batch, as SAELens' own, and stays where it
        is when no code is positive.
        """
        if len(codes.values) > 0:
            rate = self.cfg.topk_threshold_lr
            positive = torch.where(codes.values > 0, codes.values, torch.inf)
            smallest = positive.min().to(self.topk_threshold.dtype)
            moved = (1 - rate) * self.topk_threshold + rate * smallest
            self.topk_threshold = torch.where(smallest.isfinite(), moved, self.topk_threshold)
        output.metrics["topk_threshold"] = self.topk_threshold


register_sae_training_class(
    "sparse_batchtopk", SparseBatchTopKTrainingSAE, SparseBatchTopKTrainingSAEConfig
)
