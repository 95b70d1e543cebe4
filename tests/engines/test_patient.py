"""Ctrl-C waits until another package has put down what it holds."""

import os
import signal
import threading
import time

import pytest

from mm_sae_plugin.engines.patient import signals_wait_for

# As a file of a package would be: the frames of its functions say which it is.
_PACKAGE: dict = {"__name__": "ray.some.file", "os": os, "signal": signal, "time": time}
exec(
    """
def work(steps, n_signals=1):
    for _ in range(n_signals):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    for number in range(5):
        steps.append(number)
        time.sleep(0.02)

def wait(event):
    event.wait(20)
""",
    _PACKAGE,
)


@pytest.mark.parametrize("options", [{}, {"n_signals": 2}])
def test_an_interruption_waits_for_the_package_unless_it_is_sent_again(options):
    steps = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signals_wait_for("ray"):
        _PACKAGE["work"](steps, **options)
        time.sleep(20)
    assert steps == ([] if options else list(range(5)))
    assert signal.getsignal(signal.SIGINT) is before


def test_it_waits_no_longer_than_said():
    steps = []
    with pytest.raises(KeyboardInterrupt), signals_wait_for("ray", seconds=0.12):
        _PACKAGE["work"](steps)
    assert len(steps) < 5


def test_where_the_package_only_waits_it_comes_at_once():
    begun = time.monotonic()
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), signals_wait_for("ray"):
        _PACKAGE["wait"](threading.Event())
    assert time.monotonic() - begun < 5


def test_other_threads_change_nothing():
    seen = []

    def within() -> None:
        with signals_wait_for("ray"):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
