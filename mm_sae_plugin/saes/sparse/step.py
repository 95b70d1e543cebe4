"""The training step that both sparse architectures share.

It computes what SAELens' ``TopKTrainingSAE.training_forward_pass`` computes. Two identities make
it short: where pre-activations are rescaled by the decoder's norms, each code is multiplied by a
norm and its decoder row divided by it, so that the norms have no gradient; and the decoder's bias
that is subtracted from the input reaches the loss as a shift of the encoder's bias.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from sae_lens.saes.batchtopk_sae import BatchTopK
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from sae_lens.saes.topk_sae import TopK, TopKTrainingSAE
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.inspection import has_hooks
from mm_sae_plugin.saes.global_batchtopk import GlobalBatchTopK
from mm_sae_plugin.saes.sparse import auxiliary, without_sync
from mm_sae_plugin.saes.sparse.codes import SparseCodes
from mm_sae_plugin.saes.sparse.decode import sparse_reconstruction
from mm_sae_plugin.saes.sparse.encode import blocks_of_pre_activations, pre_activations

# From here on sparse steps were at least as fast at every size that was measured: with so many
# latents for every active one, and so many multiplications in a product of the dense step.
LATENTS_PER_ACTIVE_ONE = 16
MULTIPLICATIONS = 2**24
# What the sparse step computes without calling; where a subclass has its own, it is dense.
_NOT_CALLED = (
    *("encode_with_hidden_pre", "decode", "calculate_aux_loss", "calculate_topk_aux_loss"),
    "update_topk_threshold",
)
# Up to so many codes the trainer's bookkeeping is quicker with their zeros; 4 MB of float32.
FEW_CODES = 2**20


@dataclass
class SparseStepConfig:
    """What the sparse architectures' configs add to SAELens' own.

    Parameters
    ----------
    sparse_kernels : bool, optional
        Whether steps are sparse. None: where that was measured to be faster, on the CPU with at
        least 16 latents for every active one and 2^24 multiplications in ``x @ W_enc``. On other
        devices it has not been measured.

    Raises
    ------
    UserError
        If SAELens' own ``use_sparse_activations`` is set, or k is not above 0 and at most d_sae.
    """

    sparse_kernels: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()  # pyright: ignore[reportAttributeAccessIssue]
        cfg: Any = self
        if cfg.use_sparse_activations:
            raise UserError(
                f"{cfg.architecture()} keeps its codes sparse in its own way: leave "
                "use_sparse_activations at False."
            )
        if not 0 < cfg.k <= cfg.d_sae:
            raise UserError(f"k = {cfg.k} must be above 0 and at most d_sae = {cfg.d_sae}.")


def host_runs_ahead(tensor: Tensor) -> bool:
    """Whether reading a value would make the host wait: on every accelerator."""
    return tensor.device.type != "cpu"


class SparseTrainingStep(TopKTrainingSAE):
    """Replaces the dense training step where a sparse one gives the same and is faster.

    Subclasses say how to select. Everything but ``training_forward_pass`` is SAELens' own.
    """

    @property
    def n_active(self) -> Any:
        """Active latents per row, from where SAELens' step takes it: a script may change it."""
        activation_fn: Any = self.activation_fn
        return activation_fn.k

    def select(self, blocks: Iterable[Float[Tensor, "n_rows d_sae"]], n_rows: int) -> SparseCodes:
        """Return the rectified codes, given the pre-activations block by block, on the CPU."""
        raise NotImplementedError

    def select_without_sync(self, hidden: Float[Tensor, "batch d_sae"]) -> SparseCodes:
        """Return the rectified codes, given all pre-activations, on an accelerator."""
        raise NotImplementedError

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Return losses and codes of one step, as SAELens does.

        On the CPU ``hidden_pre`` is the same tensor as ``feature_acts``: the pre-activations that
        were not selected are not kept. Of a large batch it is a sparse COO tensor, which SAELens'
        trainer understands. Neither carries gradients. On accelerators both are dense.
        """
        if self.takes_sparse_step(step_input.sae_in):
            return self.sparse_forward_pass(step_input)
        return super().training_forward_pass(step_input)

    def takes_sparse_step(self, sae_in: Tensor) -> bool:
        """Whether the step on this batch is sparse; it is SAELens' own dense step otherwise.

        It is dense if the config says so (or leaves it open and dense is faster), if a hook wants
        to see or change what the sparse step never makes, if the activation function or a method
        that it does not call was replaced, if gradients with respect to the input are wanted, for
        inputs that are not ``[batch, d_in]`` or empty, for half precision on the CPU, with a
        normalisation that SAELens' auxiliary loss refuses, and on the CPU where the input or a
        weight is not finite.
        """
        cfg: Any = self.cfg
        if sae_in.ndim != 2 or sae_in.numel() == 0 or sae_in.requires_grad:
            return False
        if (
            type(self.activation_fn) not in (TopK, BatchTopK, GlobalBatchTopK)
            or self._has_other_methods()
        ):
            return False
        is_wanted = cfg.sparse_kernels
        if is_wanted is None:
            is_wanted = self.sparse_is_faster(len(sae_in))
        if not is_wanted:
            return False
        if cfg.normalize_activations in ("constant_norm_rescale", "layer_norm"):
            return False
        if any(has_hooks(hook) for hook in self.hook_dict.values()):
            return False
        if host_runs_ahead(sae_in):
            return True
        return self.W_dec.dtype.itemsize >= 4 and self._is_finite_with(sae_in)

    def sparse_is_faster(self, n_rows: int) -> bool:
        """Whether a sparse step on ``n_rows`` rows was measured to be faster: see README.md here.

        It was on the CPU, with one and two threads, unless many latents are active or the whole
        step takes only a few milliseconds. ``python -m tests.benchmarks.sparse_steps`` measures it.
        """
        cfg = self.cfg
        return (
            self.device.type == "cpu"
            and cfg.d_sae >= LATENTS_PER_ACTIVE_ONE * self.n_active
            and n_rows * cfg.d_in * cfg.d_sae >= MULTIPLICATIONS
        )

    def _has_other_methods(self) -> bool:
        """Whether a method that the sparse step does not call is another than SAELens'."""
        methods = (getattr(self, name, None) for name in _NOT_CALLED)
        return any(m is not None and not m.__module__.startswith("sae_lens.") for m in methods)

    @torch.no_grad()
    def _is_finite_with(self, sae_in: Tensor) -> bool:
        # A search for the largest passes NaN over: training would go on where SAELens' loss is NaN.
        return all(bool(values.sum().isfinite()) for values in (sae_in, *self.parameters()))

    @torch.compiler.disable(reason="the shapes depend on what is active")
    def sparse_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Return losses and codes of one sparse step."""
        cfg: Any = self.cfg
        sae_in = step_input.sae_in
        with torch.no_grad():
            x = self.process_sae_in(sae_in)
            norms = self.W_dec.norm(dim=-1) if cfg.rescale_acts_by_decoder_norm else None
            scale = torch.ones_like(self.b_enc) if norms is None else norms
            if host_runs_ahead(x):
                hidden = pre_activations(x, self.W_enc, self.b_enc, norms)
                codes = self.select_without_sync(hidden)
                feature_acts = codes.to_dense()
            else:
                hidden = None
                blocks = blocks_of_pre_activations(x, self.W_enc, self.b_enc, norms)
                codes = self.select(blocks, len(x))
                has_few_codes = len(x) * codes.d_sae <= FEW_CODES
                feature_acts = codes.to_dense() if has_few_codes else codes.to_coo()
            unscaled = replace(codes, values=codes.values / scale[codes.latents])
        weights = self.W_enc, self._b_enc_with_input_bias(), self.W_dec
        recons = sparse_reconstruction(x, unscaled, *weights, has_gradient=codes.values > 0)
        sae_out = recons + self.b_dec
        mse_loss = self.mse_loss_fn(sae_out, sae_in).sum(dim=-1).mean()
        aux_loss = mse_loss.new_zeros(())
        is_dead = step_input.dead_neuron_mask
        if is_dead is not None and (hidden is not None or is_dead.any()):
            target = x, (sae_in - sae_out).detach()
            aux_loss = (
                auxiliary.dead_latent_loss(*target, *weights, scale, is_dead)
                if hidden is None
                else without_sync.dead_latent_loss(hidden, *target, *weights, scale, is_dead)
            )
        aux_loss = cfg.aux_loss_coefficient * aux_loss
        output = TrainStepOutput(
            sae_in=sae_in,
            sae_out=sae_out,
            feature_acts=feature_acts,
            hidden_pre=feature_acts if hidden is None else hidden,
            loss=mse_loss + aux_loss,
            losses={"mse_loss": mse_loss, "auxiliary_reconstruction_loss": aux_loss},
        )
        self.after_sparse_step(codes, output)
        return output

    def after_sparse_step(self, codes: SparseCodes, output: TrainStepOutput) -> None:
        """Update what an architecture keeps from step to step; nothing by default."""

    def _b_enc_with_input_bias(self) -> Float[Tensor, "d_sae"]:
        """Return ``b_enc``, and let gradients reach ``b_dec`` where it is taken from the input."""
        if not self.cfg.apply_b_dec_to_input:
            return self.b_enc
        # Zero in value. Its derivative is that of the input's shift, at one product of a matrix
        # and a vector instead of a gradient for every row.
        shift = self.b_dec - self.b_dec.detach()
        return self.b_enc - shift @ self.W_enc.detach()
