"""Running a job in several processes that train together, under a time limit."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from mm_sae_plugin.training.distributed import process_group

# Imports what jobs need once; every process is then forked from there.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.training.jobs"])


@dataclass(frozen=True)
class Outcome:
    """How one process ended."""

    returned: Any = None
    error: str = ""
    """Name of the exception's class, if one was raised."""
    message: str = ""
    seconds: float = 0.0


def run_together(
    job: Callable[..., Any],
    *args: Any,
    n: int = 2,
    timeout: float = 60.0,
    limit: float = 240.0,
    awaited: int = 2,
) -> list[Outcome | None]:
    """Run ``job(*args)`` in ``n`` processes of one gloo group; None stands for a killed one.

    Fails where one of the first ``awaited`` has not ended after ``limit`` seconds.
    """
    # As torchrun does, the parent keeps the store through which they find each other.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    pipes, processes = [], []
    for rank in range(n):
        receiver, sender = _CONTEXT.Pipe(duplex=False)
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(n),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        process = _CONTEXT.Process(target=_run, args=(sender, environment, timeout, job, args))
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    until = time.monotonic() + limit
    try:
        return [_outcome(pipe, until) for pipe in pipes[:awaited]]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _outcome(pipe: Any, until: float) -> Outcome | None:
    assert pipe.poll(max(0.0, until - time.monotonic())), "a process hangs"
    try:
        return pipe.recv()
    except EOFError:
        return None


def _run(
    sender: Any, environment: dict[str, str], timeout: float, job: Callable[..., Any], args: Any
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    begun = time.monotonic()
    try:
        with process_group(timeout=timeout):
            outcome = Outcome(returned=job(*args))
    except BaseException as error:
        outcome = Outcome(error=type(error).__name__, message=str(error))
    seconds = time.monotonic() - begun
    sender.send(Outcome(outcome.returned, outcome.error, outcome.message, seconds))
