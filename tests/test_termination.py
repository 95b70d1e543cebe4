import os
import signal
import threading

import pytest

from mm_sae_plugin.errors import Terminated
from mm_sae_plugin.termination import termination_interrupts


@pytest.fixture(autouse=True)
def sigterm_is_the_systems():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    # A signal is handled at the next instruction of Python.
    for _ in range(1000):
        pass


def test_sigterm_interrupts_once():
    with termination_interrupts():
        with pytest.raises(Terminated):
            terminate()
        # What is being saved now must be saved.
        terminate()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_program_with_its_own_way_keeps_it():
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    with termination_interrupts():
        terminate()
    assert received == [1]


def test_other_threads_change_nothing():
    seen = []

    def work():
        with termination_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
