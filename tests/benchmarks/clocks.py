"""Clocks for work on the CPU or on a GPU."""

import time
from collections.abc import Callable

import torch


def work_clock(device: torch.device | str) -> Callable[[], float]:
    """Return what tells the seconds of work: CPU time, or on a GPU those until it is done."""
    return time.process_time if torch.device(device).type == "cpu" else wall_clock(device)


def wall_clock(device: torch.device | str) -> Callable[[], float]:
    """Return what tells the time of day, once a GPU is done."""

    def now() -> float:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now
