"""Decoding sparse codes, with the gradients of both weight matrices taken sparsely.

A dense step multiplies five matrices of the size batch × d_in × d_sae. Of the codes only k in
d_sae are not zero, so every product but the encoder's needs only those entries. Each is written
as a sum over a *bag* of rows (:func:`torch.nn.functional.embedding_bag`), for which PyTorch has
fast kernels on every device.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from mm_sae_plugin.saes.latent_order import latent_order
from mm_sae_plugin.saes.sparse.codes import SparseCodes


def sparse_reconstruction(
    x: Float[Tensor, "batch d_in"],
    codes: SparseCodes,
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    *,
    has_gradient: Bool[Tensor, "n_entries"] | None = None,
) -> Float[Tensor, "batch d_in"]:
    """Return ``codes @ W_dec`` as a differentiable function of the weights.

    Parameters
    ----------
    x : Float[Tensor, "batch d_in"]
        What was encoded, the decoder's bias subtracted; it gets no gradient.
    codes : SparseCodes
        The entries of ``x @ W_enc + b_enc`` that were selected. How they were selected has no
        gradient, as in TopK and BatchTopK.
    W_enc, b_enc, W_dec : Tensor
        The SAE's weights.
    has_gradient : Bool[Tensor, "n_entries"], optional
        Through which entries gradients flow to the encoder; without it through all. Entries that
        a ReLU cut off have none.

    Returns
    -------
    Float[Tensor, "batch d_in"]
        In the codes' dtype and on their device, without the decoder's bias.
    """
    return _SparseReconstruction.apply(x, W_enc, b_enc, W_dec, codes, has_gradient)  # pyright: ignore[reportReturnType]


class _SparseReconstruction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        codes: SparseCodes,
        has_gradient: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, W_dec)
        ctx.codes, ctx.has_gradient = codes, has_gradient
        return weighted_sums(codes.latents, W_dec, codes.row_starts, codes.values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, W_dec = ctx.saved_tensors
        codes: SparseCodes = ctx.codes
        rows, latents, latent_starts, order = _by_latent(codes)
        # CUDA has no kernel for the gradient of the values in bfloat16.
        wide = torch.promote_types(W_dec.dtype, torch.float32)
        values = codes.values[order].to(wide).requires_grad_()
        # Row l of the decoder's gradient sums grad_out over the rows in which l is active. The
        # derivative of that sum in direction W_dec[l] is <grad_out[row], W_dec[l]>, the gradient
        # of the value: one kernel's forward and backward pass give both.
        with torch.enable_grad():
            grad_out = grad_out.to(wide).contiguous()
            grad_W_dec = weighted_sums(rows, grad_out, latent_starts, values)
        (grad_values,) = torch.autograd.grad(grad_W_dec, values, W_dec.detach().to(wide))
        grad_W_dec, grad_values = (g.detach().to(W_dec.dtype) for g in (grad_W_dec, grad_values))
        if ctx.has_gradient is not None:
            grad_values = grad_values * ctx.has_gradient[order]
        grad_W_enc = weighted_sums(rows, x, latent_starts, grad_values)
        grad_b_enc = grad_values.new_zeros(codes.d_sae).index_add_(0, latents, grad_values)
        return None, grad_W_enc.T, grad_b_enc, grad_W_dec, None, None


def weighted_sums(
    indices: Int[Tensor, "n_entries"],
    table: Float[Tensor, "n d_in"],
    starts: Int[Tensor, "n_bags_plus_1"],
    weights: Float[Tensor, "n_entries"],
) -> Float[Tensor, "n_bags d_in"]:
    """Sum ``weights * table[indices]`` over each bag of entries; an empty bag gives zeros."""
    return embedding_bag(
        indices,
        table,
        starts,
        mode="sum",
        per_sample_weights=weights.to(table.dtype),
        include_last_offset=True,
    )


def _by_latent(codes: SparseCodes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rows, latents, the starts of each latent's entries, and the order that sorts them."""
    order = latent_order(codes.latents, codes.d_sae)
    latents = codes.latents[order]
    boundaries = torch.arange(codes.d_sae + 1, device=latents.device)
    return codes.rows()[order], latents, torch.searchsorted(latents, boundaries), order
