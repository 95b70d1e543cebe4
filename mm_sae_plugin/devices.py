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
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device here: leave device out, or give device='cpu'.")
    return device
