"""What Ray's workers, which import this file, are given to do."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_sae_plugin.pairs import ImageOpener


@dataclass(frozen=True)
class Watched:
    """A task that takes its time, says who does it, and once takes its worker down."""

    task: Callable[[Any], Any]
    """What is to be done."""
    log: Path
    """Folder with a file for each try, which holds the node and the process."""
    fatal_start: int | None = None
    """The part that kills its worker the first time."""
    n_nodes: int = 1
    """Nothing is done before as many are at work, however late their workers start."""

    def __call__(self, part: Any) -> Any:
        import ray  # pyright: ignore[reportMissingImports]

        tried = self.log / f"{part.start}.{time.time_ns()}"
        is_first = not list(self.log.glob(f"{part.start}.*"))
        # Renamed, so that nobody reads half of it.
        written = tried.with_name(f"writing-{os.getpid()}")
        written.write_text(f"{ray.get_runtime_context().get_node_id()} {os.getpid()}")
        written.rename(tried)
        if is_first and part.start == self.fatal_start:
            os._exit(9)
        while len(nodes_of(self.log)) < self.n_nodes:
            time.sleep(0.1)
        time.sleep(0.2)
        return self.task(part)


def nodes_of(log: Path) -> dict[str, set[int]]:
    """Return the nodes that `Watched` saw, each with its processes."""
    found: dict[str, set[int]] = {}
    for file in log.glob("[0-9]*"):
        node, process = file.read_text().split()
        found.setdefault(node, set()).add(int(process))
    return found


@dataclass(frozen=True)
class Killing:
    """Opens pictures, and at one of them sends a signal, once."""

    opener: ImageOpener
    """Opens them."""
    image_key: Any
    """Where the signal is sent."""
    sent: Path
    """Is written when it is."""
    number: signal.Signals = signal.SIGKILL
    """Which signal."""
    to: int | None = None
    """The process that receives it, while the worker waits for its end; by default the worker."""

    def open_image(self, image_key: Any) -> Any:
        if image_key == self.image_key and not self.sent.exists():
            self.sent.touch()
            os.kill(self.to or os.getpid(), self.number)
            time.sleep(60)
        return self.opener.open_image(image_key)


def fail(part: Any) -> None:
    """Raise what is not ours for part 3."""
    if part == 3:
        raise ZeroDivisionError("no such number")
