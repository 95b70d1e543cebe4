"""Processes of this machine, for tasks that hold the interpreter's lock."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from mm_sae_plugin.engines.engine import Part, Result, checked_n_workers, in_order

_task: Callable[[Any], Any] | None = None


class ProcessEngine:
    """Runs a task on parts in fresh processes, which receive the task once and the parts pickled.

    A script that uses it needs ``if __name__ == "__main__":`` around its work, as with any
    spawned process.

    Parameters
    ----------
    n_workers : int
        Processes, at least 1.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = checked_n_workers(n_workers)

    def map(self, task: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield ``task(part)`` for every part, in order."""
        with ProcessPoolExecutor(
            self.n_workers,
            # A forked process would inherit torch's locks in whatever state they are.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            # A product split over another number of threads rounds differently.
            initargs=(task, torch.get_num_threads()),
        ) as pool:
            yield from in_order(pool, self.n_workers, _run, parts)


def _start(task: Callable[[Any], Any], n_threads: int) -> None:
    global _task
    _task = task
    torch.set_num_threads(n_threads)


def _run(part: Any) -> Any:
    assert _task is not None
    return _task(part)
