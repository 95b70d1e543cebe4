"""Stopping a training between two steps, whatever thread it was started from.

Ctrl-C raises ``KeyboardInterrupt`` anywhere in the main thread, also between an optimiser's update
and its learning-rate schedule; weights saved there would not continue the same run. A handler for
signals can only be installed in the main thread, which a Gradio app does not give us. So the
trainer runs in a thread of its own, which Ctrl-C never reaches, and is asked to stop where it asks
for its next batch.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")

_SECONDS_PER_TURN = 0.2


class StoppedBetweenSteps(Exception):
    """Raised inside the trainer at a step border."""


class InterruptedTwice(KeyboardInterrupt):
    """Raised when the work was not waited for: what it works on is in no state to be saved."""


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
        If the caller was interrupted, once ``work`` has come to rest, stopped or finished.
    InterruptedTwice
        If the caller was interrupted again before that.
    BaseException
        Whatever ``work`` raised.
    """
    failures: list[BaseException] = []
    begun, done = threading.Event(), threading.Event()

    def guarded() -> None:
        begun.wait()
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    # A daemon, so that a second Ctrl-C can end the process whatever the step is doing. Interrupted
    # here, the work has not begun and never will.
    threading.Thread(target=guarded, name="sae-trainer", daemon=True).start()
    try:
        begun.set()
        _wait(done)
    except BaseException:
        stop()
        try:
            _wait(done)
        except KeyboardInterrupt:
            raise InterruptedTwice("Interrupted twice; the last steps are not saved.") from None
        # What ended the work for another reason is the more important news.
        if failures and not isinstance(failures[0], StoppedBetweenSteps):
            raise failures[0] from None
        raise
    if failures:
        raise failures[0]


def run_to_the_end(work: Callable[[], T]) -> T:
    """Run ``work`` and return what it returns; one interruption in the meantime is not heard.

    Raises
    ------
    InterruptedTwice
        If the caller was interrupted twice meanwhile.
    BaseException
        Whatever ``work`` raised.
    """
    results: list[T] = []
    # It was asked to end already, and is about to.
    with suppress(KeyboardInterrupt):
        run_interruptibly(lambda: results.append(work()), lambda: None)
    if not results:
        raise InterruptedTwice("Interrupted twice; the last steps are not saved.")
    return results[0]


def _wait(event: threading.Event) -> None:
    # In turns: an interruption that is no real signal does not wake a thread that sleeps.
    while not event.wait(_SECONDS_PER_TURN):
        pass
