"""What an engine is."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar, runtime_checkable

from mm_sae_plugin.errors import UserError

Part = TypeVar("Part")
Result = TypeVar("Result")


@runtime_checkable
class Engine(Protocol):
    """Runs a task on every part."""

    def map(self, task: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield ``task(part)`` for every part, in the order of the parts.

        Parameters
        ----------
        task
            May be sent to other threads, processes or machines: it pickles, and it changes nothing.
        parts
            Drawn as they are needed, so that a store need not fit into memory.
        """
        ...


def in_order(
    pool: Executor, n_workers: int, task: Callable[[Part], Result], parts: Iterable[Part]
) -> Iterator[Result]:
    """Yield the results of a pool in order; at most one part a worker and one more are under way,
    since the sums of a part may be large.
    """
    pending: deque[Future[Result]] = deque()
    for part in parts:
        pending.append(pool.submit(task, part))
        if len(pending) > n_workers:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def checked_n_workers(n_workers: int) -> int:
    """Return a number of workers that can work.

    Raises
    ------
    UserError
        If it is below 1.
    """
    if n_workers < 1:
        raise UserError(f"n_workers must be at least 1, not {n_workers}.")
    return n_workers
