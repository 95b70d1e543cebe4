"""Long work in a thread of its own: it tells how far it is, and ends before its next step if asked.

The thread holds the model's lock and hooks, so that they are gone whatever becomes of the page.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from torch import nn

from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.interventions.pipelines import Interruption, interruptible

Tell = Callable[[Any], None]
"""Hands something to whoever watches the work."""
Work = Callable[[Tell], None]
"""What is to be done; it tells of itself on the way."""
_SOON_S = 0.3
"""Whoever waits no longer than this is not told of it."""


@dataclass(frozen=True)
class Waiting:
    """Others are first; told whenever their number changes."""

    n_before: int


@dataclass(frozen=True)
class Stopping:
    """Somebody asked for an end, which comes before the next step."""


@dataclass(frozen=True)
class Stopped:
    """What is told last by work that did not come to its end."""

    by_newer: bool
    """Whether newer work took its place, and tells of itself."""


class Jobs:
    """The work on one model, at most one piece a visitor and one at a time, first come first.

    Parameters
    ----------
    pipeline
        A pipeline of diffusers, whose steps look whether to end; None for work that ends when it
        next tells of itself.
    denoiser : Module
        What is hooked while it works, or else what nobody else may use meanwhile.
    """

    def __init__(self, pipeline: Any, denoiser: nn.Module) -> None:
        self._pipeline, self._denoiser = pipeline, denoiser
        self._line = _Line()
        self._running: dict[Hashable, _Job] = {}
        self._register = threading.Lock()

    def run(self, visitor: Hashable, work: Work, about: Any = None) -> Iterator[Any]:
        """Do work in the background, and yield all that it tells.

        Before it begins it may tell of :class:`Waiting`, after :meth:`stop` of :class:`Stopping`,
        and where it is cut short its last word is :class:`Stopped`. A visitor's earlier work is
        stopped. So is this, when nobody watches it any more.

        Parameters
        ----------
        visitor : hashable
            Whose work it is, to be stopped by :meth:`stop`.
        work : Work
        about
            What it makes, for :meth:`is_about`.

        Raises
        ------
        Exception
            Whatever the work raises.
        """
        job = _Job(self._pipeline, self._denoiser, self._line, work, about)
        with self._register:
            earlier = self._running.get(visitor)
            self._running[visitor] = job
        if earlier is not None:
            earlier.stop(by_newer=True)
        job.start()
        try:
            yield from job.told()
        finally:
            job.stop()
            with self._register:
                if self._running.get(visitor) is job:
                    del self._running[visitor]

    def is_at_work(self, visitor: Hashable) -> bool:
        """Whether a visitor's work runs, or waits for its turn."""
        return visitor in self._running

    def is_about(self, visitor: Hashable, about: Any) -> bool:
        """Whether a visitor's work runs or waits, and makes just this."""
        job = self._running.get(visitor)
        return job is not None and job.about == about

    def stop(self, visitor: Hashable) -> bool:
        """Stop a visitor's work before its next step; tells whether there was any."""
        job = self._running.get(visitor)
        if job is None:
            return False
        job.tell(Stopping())
        job.stop()
        return True


class _Line:
    """Who came first."""

    def __init__(self) -> None:
        self.jobs: list[_Job] = []
        self.moved = threading.Condition()

    def leave(self, job: _Job) -> None:
        with self.moved:
            self.jobs.remove(job)
            self.moved.notify_all()


class _Job:
    def __init__(
        self, pipeline: Any, denoiser: nn.Module, line: _Line, work: Work, about: Any
    ) -> None:
        self._pipeline, self._denoiser, self._line = pipeline, denoiser, line
        self._work, self.about = work, about
        self._queue: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._asked = threading.Event()
        self._by_newer = False
        self._interruption: Interruption | None = None

    def start(self) -> None:
        with self._line.moved:
            self._line.jobs.append(self)
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

    def stop(self, by_newer: bool = False) -> None:
        self._by_newer = self._by_newer or by_newer
        self._asked.set()
        with self._line.moved:
            self._line.moved.notify_all()
        if self._interruption is not None:
            self._interruption.stop()

    def tell(self, what: Any) -> None:
        self._queue.put((False, what))

    def _do(self) -> None:
        try:
            self._wait()
            if not self._is_done():
                self.tell(Stopped(self._by_newer))
        except BaseException as error:
            end = error
        else:
            end = None
        # Whoever hears that it has ended may come next.
        self._line.leave(self)
        self._queue.put((True, end))

    def _wait(self) -> None:
        """Wait until all who came before have left the line, or a stop is asked for."""
        line, n_told = self._line, 0
        with line.moved:
            while (n_before := line.jobs.index(self)) and not self._asked.is_set():
                if n_told and n_before != n_told:
                    self.tell(Waiting(n_before))
                    n_told = n_before
                if not line.moved.wait(_SOON_S) and not n_told:
                    n_told = n_before
                    self.tell(Waiting(n_before))

    def _is_done(self) -> bool:
        """Work; tells whether it came to its end."""
        if self._asked.is_set():
            return False
        is_done = False
        if self._pipeline is None:
            with alone_with(self._denoiser), suppress(_Ended):
                self._work(self._tell_or_end)
                is_done = True
            return is_done
        with alone_with(self._denoiser), interruptible(self._pipeline) as interruption:
            self._interruption = interruption
            # It may have been asked meanwhile.
            if not self._asked.is_set():
                self._work(self.tell)
                is_done = True
        return is_done

    def _tell_or_end(self, what: Any) -> None:
        if self._asked.is_set():
            raise _Ended
        self.tell(what)


class _Ended(Exception):
    """Leaves work that was asked to end."""
