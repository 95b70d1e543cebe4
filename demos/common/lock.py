"""One lock for each hooked model.

Hooks are state of the model: while one visitor's edit is attached, another visitor's forward pass
through the same model would be edited too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from mm_sae_plugin.errors import UserError

_LOCKS: WeakKeyDictionary[nn.Module, threading.Lock] = WeakKeyDictionary()
_REGISTER = threading.Lock()


def lock_of(model: nn.Module) -> threading.Lock:
    """Return the lock of a model, always the same one.

    A plain lock, since Gradio may run the steps of a generator in several threads, and a re-entrant
    one belongs to the thread that took it. So do not take it twice.
    """
    with _REGISTER:
        return _LOCKS.setdefault(model, threading.Lock())


@contextmanager
def alone_with(model: nn.Module, patience_s: float = 60.0) -> Iterator[None]:
    """Keep every other event away from a model.

    Parameters
    ----------
    model : Module
    patience_s : float
        How long to wait for the others, in seconds.

    Raises
    ------
    UserError
        If the others take longer.
    """
    lock = lock_of(model)
    if not lock.acquire(timeout=patience_s):
        raise UserError("The model is busy with another request: try again in a moment.")
    try:
        yield
    finally:
        lock.release()
