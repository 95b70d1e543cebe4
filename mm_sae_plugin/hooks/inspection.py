"""What can be said of a module before a hook is set on a part of it."""

import torch
from torch import nn


def has_hooks(module: nn.Module) -> bool:
    """Say whether anybody's hook hangs on a module, forward or backward."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def is_compiled(module: nn.Module) -> bool:
    """Say whether a module runs as compiled or scripted code, which sees no hook set afterwards."""
    return (
        # Read from the instance, since a compiled wrapper answers for what it wraps.
        module.__dict__.get("_compiled_call_impl") is not None
        or "_orig_mod" in module._modules
        or isinstance(module, torch.jit.ScriptModule)
    )


def uncompiled(module: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` was called with, or the module itself."""
    return module._modules.get("_orig_mod") or module


def compiled_owner(root: nn.Module, path: str) -> str | None:
    """Return the first compiled module on the way from ``root`` to a part, or ``None``.

    ``root`` itself does not count: it may be run by a method, past its compiled ``forward``.
    """
    parts = path.split(".")
    for depth in range(1, len(parts) + 1):
        owner = ".".join(parts[:depth])
        if is_compiled(root.get_submodule(owner)):
            return owner
    return None
