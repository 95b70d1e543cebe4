"""What every test relies on, however the suite was started."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_arrives():
    """Let SIGINT interrupt, also where the parent ignores it, as ``nohup … &`` makes it do.

    An ignored signal is inherited, and Python then installs no handler: neither a test that
    interrupts itself nor a process that it starts would ever see Ctrl-C.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
