"""Cells in processes of their own."""

import multiprocessing
import os
import time

import pytest

from mm_sae_plugin.applications.workers import run_all


def slept(seconds: float) -> tuple[float, int, int]:
    """Seconds, process and number of threads."""
    import torch

    time.sleep(seconds)
    return seconds, os.getpid(), torch.get_num_threads()


def test_results_come_as_tasks_end_and_an_interruption_ends_the_rest_at_once():
    done = []

    def interrupt_at_the_second(result: tuple[float, int, int]) -> None:
        done.append(result)
        if len(done) == 2:
            raise KeyboardInterrupt

    environment = dict(os.environ)
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        run_all(slept, [600.0, 0.1, 0.2, 600.0], 2, interrupt_at_the_second)
    assert time.perf_counter() - started < 300
    assert [seconds for seconds, _, _ in done] == [0.1, 0.2]
    assert all(pid != os.getpid() and n_threads == 1 for _, pid, n_threads in done)
    assert not multiprocessing.active_children()
    assert dict(os.environ) == environment


def test_one_worker_is_this_process():
    done = []
    run_all(slept, [0.0, 0.0], 1, done.append)
    assert [pid for _, pid, _ in done] == [os.getpid()] * 2
