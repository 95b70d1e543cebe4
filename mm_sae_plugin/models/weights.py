"""A name for weights that have no name."""

import hashlib

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """Return ``"sha256:"`` and 16 hexadecimal digits that identify a module's weights.

    The hash covers names, types, shapes and bytes of the whole state dict in sorted order; the
    device does not matter. Two bytes apart give two ids, so take it before casting.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # Raw bytes, since NumPy knows no bfloat16.
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()[:16]}"
