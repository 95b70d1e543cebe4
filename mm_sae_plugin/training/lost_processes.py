"""What a process says when another one of the same training has ended, and how it knows why.

A process that fails leaves its reason in the store through which they found each other, before it
closes its connections. One that is killed leaves none, and its connections close all the same.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from mm_sae_plugin.errors import UserError, one_line

# Seconds in which a reason arrives that was left before the connections were closed.
_REASON_COMES_WITHIN = 2.0
_SECONDS_PER_LOOK = 0.05


class LostProcess(UserError):
    """Another process of the training has ended, or does not answer."""


class Notes:
    """Why processes ended, in the store that all of them can reach.

    Parameters
    ----------
    store : torch.distributed.Store
        What they found each other through.
    rank, n : int
        Number of this process, and how many there are.
    """

    def __init__(self, store: Store, rank: int, n: int) -> None:
        self._store = store
        self._rank = rank
        self._n = n

    def leave(self, error: BaseException) -> None:
        """Leave the reason why this process ends, for the others to find."""
        # Who ends because another did has no reason of its own.
        if not isinstance(error, LostProcess):
            said = str(error) if isinstance(error, UserError) else _clause(error)
            self._set(_reason_key(self._rank), said)
        self._set(_spoken_key(self._rank), "yes")

    def reason(self) -> str | None:
        """Return the sentence of a process that has ended, or None if none left any."""
        for rank in range(self._n):
            if rank != self._rank and self._has(_reason_key(rank)):
                # The store may go with the process that keeps it.
                with suppress(RuntimeError):
                    said = self._store.get(_reason_key(rank)).decode()
                    return f"Rank {rank} of {self._n} has ended: {said}"
        return None

    def first_speaks_within(self, seconds: float) -> bool:
        """Wait until rank 0 has said why it ends; return whether it has."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._has(_spoken_key(0)):
                return True
            time.sleep(_SECONDS_PER_LOOK)
        return False

    def _set(self, key: str, value: str) -> None:
        with suppress(RuntimeError):
            self._store.set(key, value)

    def _has(self, key: str) -> bool:
        try:
            return self._store.check([key])
        except RuntimeError:
            return False


# A program has one default group, and the store belongs to it.
_notes: list[Notes] = []


@contextmanager
def notes_kept_in(store: Store, rank: int, n: int) -> Iterator[Notes]:
    """Let processes leave their reasons in a store for a block."""
    notes = Notes(store, rank, n)
    _notes.append(notes)
    try:
        yield notes
    finally:
        _notes.remove(notes)


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Turn what PyTorch says of a process that is gone into a sentence.

    Raises
    ------
    LostProcess
        If the block fails for that.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_of_a_group(error):
            raise
        raise LostProcess(_reason(error)) from error


def _reason(error: RuntimeError) -> str:
    until = time.monotonic() + _REASON_COMES_WITHIN
    while _notes:
        reason = _notes[-1].reason()
        if reason is not None:
            return reason
        if time.monotonic() > until:
            break
        time.sleep(_SECONDS_PER_LOOK)
    n = dist.get_world_size() if dist.is_initialized() else "other"
    if "time" in str(error).lower() and "out" in str(error).lower():
        return (
            f"One of the {n} processes does not answer: find out what holds it up, or give it more "
            "time (process_timeout=…, --process-timeout)."
        )
    return (
        f"One of the {n} processes has ended without a word, as if it had been killed or had run "
        "out of memory."
    )


def _is_of_a_group(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    # gloo's own errors are plain ones that name its source files, or the pair of processes.
    return any(word in str(error) for word in ("gloo", "NCCL", "ProcessGroup", "Connection"))


def _clause(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "it was interrupted."
    return f"{type(error).__name__}: {one_line(error)}."


def _reason_key(rank: int) -> str:
    return f"mm_sae_plugin/reason/{rank}"


def _spoken_key(rank: int) -> str:
    return f"mm_sae_plugin/spoken/{rank}"
