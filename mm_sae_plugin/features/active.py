"""Where a batch of codes is active."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_ACTIVE = 0.1
"""Share of active codes above which a dense product is the quicker one."""


def active_positions(codes: Float[Tensor, "n_rows n_features"]) -> Int[Tensor, "n_active"]:
    """Find the codes that are not 0: their positions in the flattened codes, ascending."""
    flat = codes.detach().flatten()
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        # More than twice as quick as torch, on the same memory.
        return torch.from_numpy(np.flatnonzero(flat.numpy() != 0))
    return flat.nonzero()[:, 0]
