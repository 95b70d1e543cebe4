"""Engines hand back every result, in order, whoever computed it."""

import operator
import threading
import time
from functools import partial

import pytest
import torch

from mm_sae_plugin.engines import ProcessEngine, ThreadEngine
from mm_sae_plugin.errors import UserError


@pytest.mark.parametrize("n_workers", [1, 3])
def test_threads_keep_the_order_of_the_parts(n_workers):
    def slow_first(part: int) -> int:
        time.sleep(0.02 if part == 0 else 0)
        return part * part

    assert list(ThreadEngine(n_workers).map(slow_first, range(20))) == [i * i for i in range(20)]


def test_parts_are_drawn_as_they_are_needed():
    drawn = 0

    def parts():
        nonlocal drawn
        for part in range(100):
            drawn += 1
            yield part

    results = ThreadEngine(2).map(str, parts())
    assert next(results) == "0"
    assert drawn < 10
    results.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_processes_receive_the_task_once_and_give_the_same():
    task = partial(operator.mul, 3)
    assert list(ProcessEngine(2).map(task, range(7))) == [0, 3, 6, 9, 12, 15, 18]


def test_a_failing_part_is_told_and_no_thread_is_left():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(ThreadEngine(2).map(partial(operator.truediv, 1), [1, 0, 2]))
    assert threading.active_count() == before


def test_no_setting_of_the_process_is_touched():
    before = torch.get_num_threads()
    list(ThreadEngine(2).map(torch.ones, [1, 2, 3]))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("engine", [ThreadEngine, ProcessEngine])
def test_no_workers_are_refused(engine):
    with pytest.raises(UserError, match="n_workers must be at least 1, not 0"):
        engine(0)
