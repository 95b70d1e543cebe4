"""The auxiliary loss of TopK SAEs, taken sparsely: dead latents explain what the others leave.

Source: Gao et al. 2024, *Scaling and evaluating sparse autoencoders* (arXiv 2406.04093),
Appendix A.2, in the form of SAELens: the number of dead latents selected, ``k_aux``, is half the
input's width, and the loss is scaled down where fewer than that are dead.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.saes.sparse.codes import codes_of_equal_rows
from mm_sae_plugin.saes.sparse.decode import sparse_reconstruction

# Up to this many dead latents for every one selected, small dense products are the quicker way.
_SMALL = 4


def dead_latent_loss(
    x: Float[Tensor, "batch d_in"],
    residual: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    scale: Float[Tensor, "d_sae"],
    is_dead: Bool[Tensor, "d_sae"],
) -> Float[Tensor, ""]:
    """Return the loss on the CPU, where the number of dead latents can be looked at.

    Parameters
    ----------
    x : Float[Tensor, "batch d_in"]
        What was encoded, the decoder's bias subtracted; it gets no gradient.
    residual : Float[Tensor, "batch d_in"]
        Activations less their reconstruction, without gradients.
    W_enc, b_enc, W_dec : Tensor
        The SAE's weights.
    scale : Float[Tensor, "d_sae"]
        What pre-activations are multiplied by before they are compared: the norms of the
        decoder's rows, or ones.
    is_dead : Bool[Tensor, "d_sae"]
        Which latents are dead; at least one is.

    Returns
    -------
    Float[Tensor, ""]
        Mean over the batch of the summed squares, times ``min(n_dead / k_aux, 1)``.
    """
    k_aux = residual.shape[1] // 2
    dead = is_dead.nonzero().flatten()
    n_selected = min(k_aux, len(dead))
    if len(dead) <= _SMALL * k_aux:
        # Encode and decode with the dead latents' columns and rows alone.
        hidden = x @ W_enc.index_select(1, dead) + b_enc.index_select(0, dead)
        selected = (hidden.detach() * scale[dead]).topk(n_selected, sorted=False).indices
        kept = torch.zeros_like(hidden).scatter_(1, selected, 1.0)
        recons = (hidden * kept) @ W_dec.index_select(0, dead)
    else:
        with torch.no_grad():
            hidden = x @ W_enc[:, dead] + b_enc[dead]
            selected = (hidden * scale[dead]).topk(n_selected, sorted=False).indices
            values = hidden.gather(1, selected)
        codes = codes_of_equal_rows(dead[selected], values, len(is_dead))
        recons = sparse_reconstruction(x, codes, W_enc, b_enc, W_dec)
    return (recons - residual).pow(2).sum(dim=-1).mean() * min(len(dead) / k_aux, 1.0)
