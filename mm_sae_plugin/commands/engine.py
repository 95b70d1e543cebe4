"""How commands use the cores of this machine, or others."""

import os
from typing import TYPE_CHECKING, Literal

from mm_sae_plugin.engines import ThreadEngine

if TYPE_CHECKING:
    from mm_sae_plugin.engines import Engine

EngineName = Literal["local", "ray"]
"""Where a command computes: on this machine, or on a Ray cluster."""


def one_core_each(n_workers: int) -> ThreadEngine:
    """Return an engine whose workers compute on one thread each.

    The setting is the process's, so it is made here, where the process is ours: a product split
    over another number of threads rounds differently, and labels should not depend on the machine.
    """
    import torch

    torch.set_num_threads(1)
    return ThreadEngine(n_workers)


def one_core_each_of(name: EngineName, n_workers: int) -> "Engine":
    """Return the engine of a name, whose workers compute on one thread each.

    Raises
    ------
    UserError
        If it is Ray's, which is not installed.
    """
    local = one_core_each(n_workers)
    if name == "local":
        return local
    from mm_sae_plugin.engines import RayEngine

    return RayEngine(n_workers)


def sleep_while_waiting() -> None:
    """Let torch's threads sleep where they wait for each other, and not turn idly.

    Turning is a little quicker where every thread has a core of its own, but beside processes that
    open pictures it takes the cores from them: an extraction took a third longer. The setting is
    read when torch is loaded, and changes nothing later; the user's own ``OMP_WAIT_POLICY`` stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
