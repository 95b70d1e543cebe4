"""Ctrl-C where it does no harm.

A signal interrupts the main thread at whatever it is doing. In the middle of another package's
start that may be with a lock in its hands, and the program then waits for ever instead of ending.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_SECONDS_BETWEEN = 0.05


@contextmanager
def signals_wait_for(package: str, seconds: float = 15) -> Iterator[None]:
    """Let SIGINT and SIGTERM wait while the main thread is at work inside a package.

    They come through as soon as it only waits there or has left the package, after ``seconds`` in
    any case, and when they are sent again. Outside the main thread, and where the system cannot
    send a signal to a thread, nothing is changed.

    Parameters
    ----------
    package : str
        Its name, as in ``import name``.
    seconds : float
        The longest that a signal waits.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not hasattr(signal, "pthread_kill"):
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _NUMBERS}
    waiting = {
        number: _Waiting(number, handler, package, seconds)
        for number, handler in handlers.items()
        if callable(handler)
    }
    for number, one in waiting.items():
        signal.signal(number, one)
    try:
        yield
    finally:
        for one in waiting.values():
            one.close()
        for number in waiting:
            signal.signal(number, handlers[number])
        for one in waiting.values():
            one.deliver()


class _Waiting:
    """A handler that has another one called when the time is right."""

    def __init__(
        self, number: int, handler: Callable[[int, Any], Any], package: str, seconds: float
    ) -> None:
        self._number, self._handler = number, handler
        self._package, self._seconds = package, seconds
        self._since: float | None = None
        self._reminder: threading.Timer | None = None
        self._is_reminder = self._is_closed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        is_reminder, self._is_reminder = self._is_reminder, False
        if is_reminder and self._since is None:
            return
        is_sent_again = self._since is not None and not is_reminder
        since = self._since = time.monotonic() if self._since is None else self._since
        if self._is_closed:
            return
        is_over = time.monotonic() - since > self._seconds
        if is_sent_again or is_over or not _is_busy(frame, self._package):
            self.deliver(frame)
            return
        self._reminder = threading.Timer(_SECONDS_BETWEEN, self._remind)
        self._reminder.daemon = True
        self._reminder.start()

    def deliver(self, frame: FrameType | None = None) -> None:
        """Call the other handler, if a signal waits."""
        if self._since is not None:
            self._since = None
            self._handler(self._number, frame)

    def close(self) -> None:
        """Send no more reminders; what comes in from now on waits until it is delivered."""
        self._is_closed = True
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder.join()

    def _remind(self) -> None:
        self._is_reminder = True
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        # To that thread: a lock that it waits for is not left for a signal to another one.
        signal.pthread_kill(main_thread, self._number)


def _is_busy(frame: FrameType | None, package: str) -> bool:
    """Say whether a package is at work in these frames, rather than waiting for its threads."""
    if frame is not None and (_module(frame), frame.f_code.co_name) == ("threading", "wait"):
        return False
    while frame is not None:
        if _module(frame).partition(".")[0] == package:
            return True
        frame = frame.f_back
    return False


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
