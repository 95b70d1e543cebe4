"""Work in the background: told as it goes, stopped before its next step, and never left hooked."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mm_sae_plugin.demos.common.jobs import Jobs, Stopped, Stopping, Waiting
from mm_sae_plugin.demos.common.lock import lock_of

_ENDED = [Stopping(), Stopped(by_newer=False)]


@pytest.fixture
def unet() -> nn.Module:
    return nn.Linear(2, 2)


@pytest.fixture
def jobs(unet) -> Jobs:
    return Jobs(SimpleNamespace(unet=unet), unet)


def _is_free(unet) -> bool:
    return not lock_of(unet).locked() and not unet._forward_pre_hooks


def _steps(unet, n=3, then=lambda n: None):
    def work(tell):
        for step in range(n):
            unet(torch.zeros(1, 2))
            tell(step)
            then(step)

    return work


def test_all_is_told_in_order_by_another_thread(jobs, unet):
    threads = []
    work = _steps(unet, then=lambda _: threads.append(threading.current_thread()))
    assert list(jobs.run("me", work)) == [0, 1, 2]
    assert threading.main_thread() not in threads and _is_free(unet)
    assert not jobs.stop("me")


def test_a_stop_ends_it_before_its_next_step(jobs, unet):
    seen, gate = [], threading.Event()
    for step in jobs.run("me", _steps(unet, 5, lambda step: step == 1 and gate.wait(10))):
        seen.append(step)
        if step == 1:
            assert not jobs.stop("another") and jobs.stop("me")
            gate.set()
    assert seen == [0, 1, *_ENDED] and _is_free(unet)


def test_what_it_raises_arrives_and_nothing_stays(jobs, unet):
    def fail(step):
        raise KeyError(step)

    with pytest.raises(KeyError):
        list(jobs.run("me", _steps(unet, then=fail)))
    assert _is_free(unet)
    assert list(jobs.run("me", _steps(unet))) == [0, 1, 2]


def test_one_waits_for_another_and_can_be_stopped_while_it_waits(jobs, unet):
    gate = threading.Event()
    first = jobs.run("first", _steps(unet, 2, lambda _: gate.wait(10)))
    assert next(first) == 0
    told = []
    waiting = threading.Thread(target=lambda: told.extend(jobs.run("second", _steps(unet))))
    waiting.start()
    while not jobs.stop("second"):
        pass
    # It ends though the first one does not.
    waiting.join(10)
    gate.set()
    assert told == _ENDED and list(first) == [1] and _is_free(unet)


def test_a_page_that_is_left_stops_it(jobs, unet):
    gate = threading.Event()
    running = jobs.run("me", _steps(unet, 5, lambda _: gate.wait(10)))
    assert next(running) == 0
    running.close()
    gate.set()
    with lock_of(unet):
        assert not jobs.stop("me")
    assert list(jobs.run("me", _steps(unet, 1))) == [0]


def test_who_waits_is_told_and_first_come_is_first(jobs, unet):
    gate = threading.Event()
    first = jobs.run("first", _steps(unet, 1, lambda _: gate.wait(10)))
    assert next(first) == 0
    second, third = (jobs.run(name, _steps(unet, 1)) for name in ("second", "third"))
    assert next(second) == Waiting(1) and next(third) == Waiting(2)
    jobs.stop("second")
    assert list(second) == _ENDED
    assert next(third) == Waiting(1) and jobs.is_at_work("third")
    gate.set()
    assert list(first) == [] and list(third) == [0]
    assert not jobs.is_at_work("third") and _is_free(unet)


def test_it_says_what_a_visitor_is_at(jobs, unet):
    at = []
    work = _steps(unet, 1, lambda _: at.extend(jobs.is_about("me", n) for n in (1, 2)))
    assert list(jobs.run("me", work, about=1)) == [0]
    assert at == [True, False]
    assert not jobs.is_about("me", 1) and not jobs.is_about("another", None)


def test_newer_work_takes_the_place_of_older(jobs, unet):
    gate = threading.Event()
    older = jobs.run("me", _steps(unet, 5, lambda _: gate.wait(10)))
    assert next(older) == 0
    newer = []
    thread = threading.Thread(target=lambda: newer.extend(jobs.run("me", _steps(unet, 2))))
    thread.start()
    deadline = time.monotonic() + 10
    while not newer and time.monotonic() < deadline:
        time.sleep(0.01)
    gate.set()
    assert list(older) == [Stopped(by_newer=True)]
    thread.join(10)
    assert newer == [Waiting(1), 0, 1] and _is_free(unet)


def test_work_of_no_pipeline_ends_when_it_tells_next(unet):
    jobs, gate, begun = Jobs(None, unet), threading.Event(), []

    def work(tell):
        for step in range(3):
            begun.append(step)
            tell(step)
            gate.wait(10)

    seen = []
    for step in jobs.run("me", work):
        seen.append(step)
        if step == 0:
            assert lock_of(unet).locked() and jobs.stop("me")
            gate.set()
    assert seen == [0, *_ENDED] and begun == [0, 1] and _is_free(unet)
    assert list(jobs.run("me", lambda tell: tell("all"))) == ["all"]
