"""Stopping a training between two steps, without signal handlers.

Ctrl-C raises ``KeyboardInterrupt`` anywhere in the main thread, also between an optimiser's update
and its learning-rate schedule; weights saved there would not continue the same run. Handlers for
signals would help, but can only be installed in the main thread, which a Gradio app does not give
us. So the trainer runs in a thread of its own, which Ctrl-C never reaches, and is asked to stop
where it asks for its next batch.
"""

import threading
from collections.abc import Callable, Iterator

from torch import Tensor

_SECONDS_PER_TURN = 0.2


class StoppedBetweenSteps(Exception):
    """Raised inside the trainer at a step border."""


class StoppableBatches(Iterator[Tensor]):
    """A data provider that refuses the next batch once it is told to stop."""

    def __init__(self, batches: Iterator[Tensor]) -> None:
        self._batches = batches
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let the running step finish and no other begin."""
        self._stop.set()

    def __next__(self) -> Tensor:
        if self._stop.is_set():
            raise StoppedBetweenSteps
        return next(self._batches)


def run_interruptibly(work: Callable[[], object], stop: Callable[[], None]) -> None:
    """Run ``work`` in a thread; when the caller is interrupted, stop it and wait for its end.

    Parameters
    ----------
    work : callable
        What to run.
    stop : callable
        Makes ``work`` raise :class:`StoppedBetweenSteps` soon.

    Raises
    ------
    KeyboardInterrupt
        If the caller was interrupted, once ``work`` has come to rest. A second Ctrl-C does not
        wait for that.
    BaseException
        Whatever ``work`` raised.
    """
    failures: list[BaseException] = []
    done = threading.Event()

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    # A daemon, so that a second Ctrl-C can end the process whatever the step is doing.
    threading.Thread(target=guarded, name="sae-trainer", daemon=True).start()
    try:
        # In turns: an interruption that is no real signal does not wake a thread that sleeps.
        while not done.wait(_SECONDS_PER_TURN):
            pass
    except BaseException:
        stop()
        done.wait()
        # What ended the work for another reason is the more important news.
        if failures and not isinstance(failures[0], StoppedBetweenSteps):
            raise failures[0] from None
        raise
    if failures:
        raise failures[0]
