"""Reading along: the arguments with which somebody's method is called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

Note = Callable[[Mapping[str, Any]], None]
"""Takes the arguments of a call by their names, before it is carried out."""


def watch(owner: Any, method: str, note: Note) -> Callable[[], None]:
    """Tell ``note`` of every call of a method of one object, until the returned function is called.

    Blocks may close in any order. The object's class stays as it is.
    """
    watched = vars(owner).get(method)
    if not isinstance(watched, _Watched):
        watched = _Watched(owner, method)
    return watched.add(note)


class _Watched:
    """A method with everything that reads along; with the last of it, it is taken away again."""

    def __init__(self, owner: Any, method: str) -> None:
        self._owner, self._method = owner, method
        self._before = vars(owner).get(method)
        self._original = getattr(owner, method)
        self._signature = inspect.signature(self._original)
        self._notes: list[Note] = []
        # Pipelines ask which arguments a scheduler takes.
        functools.update_wrapper(self, self._original)
        vars(owner)[method] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for note in tuple(self._notes):
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            note(bound.arguments)
        return self._original(*args, **kwargs)

    def add(self, note: Note) -> Callable[[], None]:
        """Add one, until the returned function is called."""
        self._notes.append(note)

        def undo() -> None:
            self._notes[:] = [kept for kept in self._notes if kept is not note]
            if self._notes or vars(self._owner).get(self._method) is not self:
                return
            if self._before is None:
                del vars(self._owner)[self._method]
            else:
                vars(self._owner)[self._method] = self._before

        return undo
