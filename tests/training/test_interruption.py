import os
import signal
import threading

import pytest
import torch

from mm_sae_plugin.errors import Terminated
from mm_sae_plugin.termination import termination_interrupts
from mm_sae_plugin.training.interruption import (
    InterruptedTwice,
    StoppableBatches,
    StoppedBetweenSteps,
    run_interruptibly,
)


@pytest.fixture(autouse=True)
def sigterm_is_the_systems():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_terminated_work_comes_to_rest_first():
    batches, resting = StoppableBatches(map(torch.tensor, range(10**9))), []

    def work():
        try:
            for _ in batches:
                if len(resting) == 0:
                    resting.append("begun")
                    os.kill(os.getpid(), signal.SIGTERM)
        except StoppedBetweenSteps:
            resting.append("rested")
            raise

    with termination_interrupts(), pytest.raises(Terminated):
        run_interruptibly(work, batches.stop)
    assert resting == ["begun", "rested"]


def test_work_that_finishes_all_the_same_is_finished():
    stopped, finished = threading.Event(), []

    def work():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.wait(10)
        finished.append(True)

    with termination_interrupts(), pytest.raises(Terminated):
        run_interruptibly(work, stopped.set)
    assert finished == [True]


def test_a_second_interruption_does_not_wait():
    go_on = threading.Event()

    def stop():
        # The step takes its time; meanwhile Ctrl-C is pressed again.
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    def work():
        os.kill(os.getpid(), signal.SIGINT)
        go_on.wait(10)

    try:
        with pytest.raises(InterruptedTwice, match="not saved"):
            run_interruptibly(work, stop)
    finally:
        go_on.set()
