"""Selection and auxiliary loss on accelerators, in shapes that depend on no value.

The host then never waits for the device: it need not know how many latents are dead, how many
pre-activations are positive or whether some are equal.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.saes.sparse.codes import (
    SparseCodes,
    codes_of_equal_rows,
    codes_of_positions,
)
from mm_sae_plugin.saes.sparse.decode import sparse_reconstruction


def select_topk(hidden: Float[Tensor, "batch d_sae"], k: int) -> SparseCodes:
    """Return the k largest pre-activations of each row, rectified."""
    values, latents = hidden.topk(k, sorted=False)
    return codes_of_equal_rows(latents, values.relu_(), hidden.shape[1])


def select_batchtopk(hidden: Float[Tensor, "batch d_sae"], n_kept: int) -> SparseCodes:
    """Return the ``n_kept`` largest pre-activations of a whole batch, rectified."""
    n_rows, d_sae = hidden.shape
    values, positions = hidden.flatten().topk(n_kept, sorted=False)
    positions, order = positions.sort()
    return codes_of_positions(positions, values[order].relu_(), n_rows, d_sae)


def dead_latent_loss(
    hidden: Float[Tensor, "batch d_sae"],
    x: Float[Tensor, "batch d_in"],
    residual: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    scale: Float[Tensor, "d_sae"],
    is_dead: Bool[Tensor, "d_sae"],
) -> Float[Tensor, ""]:
    """Return the loss of :func:`mm_sae_plugin.saes.sparse.auxiliary.dead_latent_loss`.

    Its parameters are the same, and ``hidden`` all pre-activations, multiplied by ``scale``. There
    may be no dead latent, in which case it is 0.
    """
    k_aux = residual.shape[1] // 2
    ranked = torch.where(is_dead, hidden, -torch.inf)
    values, latents = ranked.topk(min(k_aux, hidden.shape[1]), sorted=False)
    is_selected = (values > -torch.inf).flatten()
    values = torch.where(is_selected, values.flatten() / scale[latents.flatten()], 0.0)
    codes = codes_of_equal_rows(latents, values.view_as(latents), len(is_dead))
    recons = sparse_reconstruction(x, codes, W_enc, b_enc, W_dec, has_gradient=is_selected)
    return (recons - residual).pow(2).sum(dim=-1).mean() * (is_dead.sum() / k_aux).clamp(max=1.0)
