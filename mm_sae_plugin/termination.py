"""SIGTERM treated as Ctrl-C, so that what is stopped says what it kept and how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mm_sae_plugin.errors import Terminated


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Let SIGTERM, with which jobs are preempted, raise :class:`Terminated` as Ctrl-C raises.

    Once: schedulers like to send it twice, and what is being saved must be saved. Outside the main
    thread, and where the program has its own way with SIGTERM, nothing is changed.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    received = threading.Event()

    def terminate(_number: int, _frame: object) -> None:
        if not received.is_set():
            received.set()
            raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
