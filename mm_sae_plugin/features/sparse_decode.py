"""An SAE's own decoder, given only what is active in the codes."""

from typing import Any

import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from mm_sae_plugin.features.active import MOST_ACTIVE, active_positions


@torch.no_grad()
def decoded(sae: SAE[Any], codes: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_in"]:
    """Return ``sae.decode(codes)``, but for the order of its additions.

    SAELens' decoders multiply sparse codes as they do dense ones, and whatever else they do (its
    hooks, a norm that is undone, a bias that is left out) is done here too, since it is the SAE's
    own ``decode`` that is called. A decoder that is not SAELens' gets dense codes.
    """
    if not takes_sparse_codes(sae, codes):
        return sae.decode(codes)
    positions = active_positions(codes)
    if len(positions) > MOST_ACTIVE * codes.numel():
        return sae.decode(codes)
    d_sae = codes.shape[1]
    indices = torch.stack([torch.div(positions, d_sae, rounding_mode="floor"), positions % d_sae])
    values = codes.flatten()[positions]
    few = torch.sparse_coo_tensor(
        indices, values, codes.shape, check_invariants=False, is_coalesced=True
    )
    return sae.decode(few)


def takes_sparse_codes(sae: SAE[Any], codes: Tensor) -> bool:
    """Say whether an SAE's decoder is known to take sparse codes, and they to be worth finding."""
    decode = getattr(sae.decode, "__func__", None)
    return (
        decode is not None
        and decode.__module__.startswith("sae_lens.")
        # Torch multiplies sparse matrices of half precision nowhere near as widely, and on
        # accelerators the host would wait to be told how many codes are active.
        and codes.device.type == "cpu"
        and codes.dtype in (torch.float32, torch.float64)
        and codes.dtype == sae.W_dec.dtype
        and codes.ndim == 2
    )
