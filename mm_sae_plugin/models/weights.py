"""A name for weights that have no name."""

import hashlib

import torch
from torch import nn

# torch's, timm's and transformers' names for the same function.
_PLAIN_GELU = frozenset({"GELU", "GELUActivation"})


def weights_digest(module: nn.Module, with_activations: bool = True) -> str:
    """Return ``"sha256:"`` and 16 hexadecimal digits that identify a module's weights.

    The hash covers names, types, shapes and bytes of the whole state dict in sorted order, and
    every activation function other than plain GELU, which the state dict does not tell; the device
    does not matter. Two bytes apart give two ids, so take it before casting.

    Parameters
    ----------
    module
        The model.
    with_activations
        False gives the id of earlier versions, which was of the state dict alone.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # Raw bytes, since NumPy knows no bfloat16.
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    if with_activations:
        for path, part in module.named_modules():
            kind = type(part).__name__
            approximate = getattr(part, "approximate", "none")
            if "GELU" in kind and (kind not in _PLAIN_GELU or approximate != "none"):
                digest.update(f"{path}|{kind}|{approximate}|".encode())
    return f"sha256:{digest.hexdigest()[:16]}"
