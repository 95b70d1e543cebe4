"""The engine of the commands that pass over a store."""

from mm_sae_plugin.engines import ThreadEngine


def one_core_each(n_workers: int) -> ThreadEngine:
    """Return an engine whose workers compute on one thread each.

    The setting is the process's, so it is made here, where the process is ours: a product split
    over another number of threads rounds differently, and labels should not depend on the machine.
    """
    import torch

    torch.set_num_threads(1)
    return ThreadEngine(n_workers)
