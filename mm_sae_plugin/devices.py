"""Names of devices, checked where they come in."""

import torch

from mm_sae_plugin.errors import UserError


def checked_device(name: str) -> torch.device:
    """Return the device that ``name`` stands for, such as ``"cpu"`` or ``"cuda:0"``.

    Raises
    ------
    UserError
        If there is no device of that name, here or at all.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device {name!r}: give 'cpu', 'cuda' or 'cuda:0'.") from error
    if device.type == "meta":
        raise UserError("The device 'meta' holds no numbers: leave device out, or give 'cpu'.")
    if device.type == "cpu":
        return device
    try:
        torch.empty(1, device=device)
    # Every backend has its own way to say that it is not there.
    except Exception as error:
        kind = "CUDA" if device.type == "cuda" else device.type
        numbered = "" if device.index is None else f" number {device.index}"
        raise UserError(
            f"There is no {kind} device{numbered} here: leave device out, or give device='cpu'."
        ) from error
    return device
