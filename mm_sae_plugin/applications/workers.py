"""Tasks in several processes, of which none outlives an interruption."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    task: Callable[[Item], Result],
    items: Sequence[Item],
    n_workers: int,
    on_done: Callable[[Result], None],
) -> None:
    """Run a task on every item and hand over each result as it comes.

    When one fails or this process is interrupted, the others end at once: a running task is killed,
    so it must leave nothing half done that counts as finished, and should return little.

    Parameters
    ----------
    task, items
        Both pickle, as with any spawned process, unless `n_workers` is 1.
    n_workers : int
        Processes of one thread each; 1 stays in this process.
    on_done : callable
        Is called in this process, in the order in which tasks end.
    """
    if n_workers == 1:
        for item in items:
            on_done(task(item))
        return
    others = set(multiprocessing.active_children())
    # A forked process would inherit torch's locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_workers, max(len(items), 1)), context, _start) as pool:
        try:
            # Read when the processes import: one thread each, and no bars that write over each
            # other.
            with _environment(OMP_NUM_THREADS="1", TQDM_DISABLE="1"):
                submitted = [pool.submit(task, item) for item in items]
            for done in as_completed(submitted):
                on_done(done.result())
        except BaseException:
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Give the processes that are started within other variables than this one has."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start() -> None:
    # Ctrl-C goes to every process of a terminal; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch
    from tqdm import tqdm

    torch.set_num_threads(1)
    # Its own would be one of the system's, which outlives a process that is killed.
    tqdm.set_lock(threading.RLock())
