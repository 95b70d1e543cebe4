"""Sorting entries by their latent."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

_SHORT_NUMBERS = 2**16
"""How many numbers have 16 bits."""


def latent_order(latents: Int[Tensor, "entries"], n_latents: int) -> Int[Tensor, "entries"]:
    """Return the order that sorts entries by latent; those of one latent stay in theirs.

    Parameters
    ----------
    latents : int64, any device
        From 0 to ``n_latents - 1``.
    n_latents : int
        How many there are.
    """
    if latents.device.type != "cpu" or n_latents > _SHORT_NUMBERS:
        return latents.argsort(stable=True)
    # NumPy sorts numbers of 16 bits by their digits, several times as fast.
    short = latents.numpy().astype(np.uint16)
    return torch.from_numpy(short.argsort(kind="stable"))
