"""A stand-in for an accelerator: it raises where the host would have to wait for a value."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What copies a value to the host or from it, or needs one to know the shape of its result.
_SYNCHRONISING = {
    "_local_scalar_dense",
    "item",
    "nonzero",
    "masked_select",
    "unique_dim",
    "_unique2",
    "unique_consecutive",
    "bincount",
    "is_nonzero",
    "equal",
    "_coalesce",
    # torch.tensor and new_tensor, which on an accelerator wait until their value is there.
    "lift_fresh",
}


class NoSynchronisation(TorchDispatchMode):
    """Raises at what would make the host wait for an accelerator."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        has_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for argument in args
            if isinstance(argument, (list, tuple))
            for index in argument
        )
        if name in _SYNCHRONISING or has_mask:
            raise AssertionError(f"{func} waits for a value between host and device")
        return func(*args, **(kwargs or {}))
