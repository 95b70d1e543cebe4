"""Long work in a thread of its own: it tells how far it is, and ends before its next step if asked.

The thread holds the model's lock and hooks, so that they are gone whatever becomes of the page.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from torch import nn

from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.interventions.pipelines import Interruption, interruptible

Tell = Callable[[Any], None]
"""Hands something to whoever watches the work."""
Work = Callable[[Tell], None]
"""What is to be done; it tells of itself on the way."""


class Jobs:
    """The work on one pipeline, at most one piece a visitor and one at a time.

    Parameters
    ----------
    pipeline
        A pipeline of diffusers.
    denoiser : Module
        What is hooked while it works.
    """

    def __init__(self, pipeline: Any, denoiser: nn.Module) -> None:
        self._pipeline, self._denoiser = pipeline, denoiser
        self._running: dict[str, _Job] = {}

    def run(self, visitor: str, work: Work) -> Iterator[Any]:
        """Do work in the background, and yield all that it tells.

        A visitor's earlier work is stopped. So is this, when nobody watches it any more.

        Parameters
        ----------
        visitor : str
            Whose work it is, to be stopped by :meth:`stop`.
        work : Work

        Raises
        ------
        Exception
            Whatever the work raises.
        """
        self.stop(visitor)
        job = self._running[visitor] = _Job(self._pipeline, self._denoiser, work)
        job.start()
        try:
            yield from job.told()
        finally:
            job.stop()
            if self._running.get(visitor) is job:
                del self._running[visitor]

    def stop(self, visitor: str) -> bool:
        """Stop a visitor's work before its next step; tells whether there was any."""
        job = self._running.get(visitor)
        if job is None:
            return False
        job.stop()
        return True


class _Job:
    def __init__(self, pipeline: Any, denoiser: nn.Module, work: Work) -> None:
        self._pipeline, self._denoiser, self._work = pipeline, denoiser, work
        self._queue: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._asked = threading.Event()
        self._interruption: Interruption | None = None

    def start(self) -> None:
        # It ends with the process: nobody is left to watch it.
        threading.Thread(target=self._do, name="mm-sae-job", daemon=True).start()

    def told(self) -> Iterator[Any]:
        while True:
            is_last, what = self._queue.get()
            if not is_last:
                yield what
            elif what is not None:
                raise what
            else:
                return

    def stop(self) -> None:
        self._asked.set()
        if self._interruption is not None:
            self._interruption.stop()

    def _do(self) -> None:
        try:
            with alone_with(self._denoiser), interruptible(self._pipeline) as interruption:
                self._interruption = interruption
                # It may have been asked while others were waited for.
                if not self._asked.is_set():
                    self._work(lambda what: self._queue.put((False, what)))
        except BaseException as error:
            self._queue.put((True, error))
        else:
            self._queue.put((True, None))
