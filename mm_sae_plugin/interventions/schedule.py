"""When an edit acts, and how strongly: a window of steps and a strength for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any, cast

from mm_sae_plugin.errors import UserError, kind_of

Strength = float | Sequence[float] | Callable[[int], float]


@dataclass(frozen=True)
class Schedule:
    """Steps and strengths, checked."""

    start: int
    """First step that is edited."""
    stop: int | None
    """First one that is not edited any more; None is no end."""
    calls_per_step: int
    """How often the place is passed in a step."""
    strengths: Strength
    """One number, one a step (the last one stays), or a function of the step."""

    @classmethod
    def of(cls, steps: Any, calls_per_step: Any, strength: Any) -> Schedule:
        """Check what is given by hand.

        Raises
        ------
        UserError
            If one of them is of another kind, out of order or not finite.
        """
        is_pair = isinstance(steps, tuple | list) and len(steps) == 2
        if not is_pair or not _is_whole(steps[0]) or not (steps[1] is None or _is_whole(steps[1])):
            raise UserError(f"steps must be (start, stop), whole numbers, not {steps!r:.40}.")
        start, stop = steps
        if start < 0 or (stop is not None and stop <= start):
            raise UserError(f"steps must be (start, stop) with 0 <= start < stop; got {steps}.")
        if not _is_whole(calls_per_step) or calls_per_step < 1:
            raise UserError(
                f"calls_per_step must be a whole number, at least 1, not {calls_per_step!r:.40}."
            )
        return cls(int(start), stop, int(calls_per_step), _strengths(strength))

    def step(self, n_calls: int) -> int | None:
        """Return the step of the call after so many, None outside the window."""
        step = n_calls // self.calls_per_step
        is_within = step >= self.start and (self.stop is None or step < self.stop)
        return step if is_within else None

    def strength(self, step: int) -> float:
        """How far to go in a step."""
        if callable(self.strengths):
            return checked_strength(self.strengths(step))
        if isinstance(self.strengths, Sequence):
            return self.strengths[min(step, len(self.strengths) - 1)]
        return self.strengths


def checked_strength(value: Any) -> float:
    """Return a strength as a number; ``UserError`` where it is none."""
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise UserError(f"strength must be a finite number, not {value!r:.40}.")
    return float(value)


def _strengths(given: Any) -> Strength:
    # Arrays and tensors of numbers are read here, once.
    given = given.tolist() if hasattr(given, "tolist") else given
    if callable(given):
        return cast(Callable[[int], float], given)
    if isinstance(given, str) or not isinstance(given, Sequence | Real):
        raise UserError(
            f"strength must be a number, one for each step, or a function of the step, not "
            f"{kind_of(given)}."
        )
    if not isinstance(given, Sequence):
        return checked_strength(given)
    if not given:
        raise UserError("strength must hold at least one number.")
    return [checked_strength(value) for value in given]


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
