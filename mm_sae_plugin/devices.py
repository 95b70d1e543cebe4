"""Devices and floating-point types by name, checked where they come in; and cores."""

import os

import torch

from mm_sae_plugin.errors import UserError

MODEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""What the weights of a model may be cast to."""


def checked_device(name: str | torch.device) -> torch.device:
    """Return the device that ``name`` stands for, such as ``"cpu"`` or ``"cuda:0"``.

    Raises
    ------
    UserError
        If there is no device of that name, here or at all.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"There is no device {str(name)!r}: give 'cpu', 'cuda' or 'cuda:0'."
        ) from error
    if device.type == "cpu":
        return device
    if device.type == "meta":
        raise UserError("The device 'meta' holds no numbers: leave device out, or give 'cpu'.")
    try:
        torch.empty(1, device=device)
    # Every backend has its own way to say that it is not there, at any length.
    except Exception as error:
        kind = "CUDA" if device.type == "cuda" else device.type
        number = "" if device.index is None else f" number {device.index}"
        raise UserError(
            f"There is no {kind} device{number} here: leave device out, or give device='cpu'."
        ) from error
    return device


def checked_dtype(name: str | torch.dtype) -> torch.dtype:
    """Return the floating-point type that ``name`` stands for, such as ``"bfloat16"``.

    Raises
    ------
    UserError
        If it is none that a model can run in.
    """
    dtype = name if isinstance(name, torch.dtype) else getattr(torch, str(name), None)
    if dtype not in MODEL_DTYPES:
        known = ", ".join(str(known).removeprefix("torch.") for known in MODEL_DTYPES)
        raise UserError(f"Models do not run in {str(name)!r}: give one of {known}.")
    assert isinstance(dtype, torch.dtype)
    return dtype


def available_cores() -> int:
    """Return how many cores this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
