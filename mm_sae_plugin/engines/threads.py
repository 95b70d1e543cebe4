"""Threads of this process: torch computes outside the interpreter's lock."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from mm_sae_plugin.engines.engine import Part, Result, checked_n_workers, in_order


class ThreadEngine:
    """Runs a task on parts in threads.

    Each thread computes with as many OpenMP threads as torch is set to; with several workers
    call ``torch.set_num_threads(1)`` first, since threads beyond the cores make everything slow.

    Parameters
    ----------
    n_workers : int
        Parts at a time, at least 1.
    """

    def __init__(self, n_workers: int = 1) -> None:
        self.n_workers = checked_n_workers(n_workers)

    def map(self, task: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield ``task(part)`` for every part, in order."""
        # One worker also gets a thread, so that it rounds as any of several would.
        with ThreadPoolExecutor(self.n_workers) as pool:
            yield from in_order(pool, self.n_workers, task, parts)
