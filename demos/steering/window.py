"""Seeds and windows of steps as the page's fields hold them."""

from __future__ import annotations

from typing import Any

from mm_sae_plugin.demos.common.typed import finite_number
from mm_sae_plugin.errors import UserError


def checked_window(first: Any, last: Any, n_steps: int) -> tuple[int, int | None]:
    """Return the steps in which an edit acts; None is no end.

    Raises
    ------
    UserError
        If an end is missing, or it holds no step.
    """
    start = int(finite_number("The first step", first))
    stop = int(finite_number("The last step", last))
    if start >= stop:
        raise UserError(f"The window from step {start} to step {stop} is empty: end it later.")
    return start, None if stop >= n_steps else stop


def checked_seed(typed: Any) -> int:
    """Return a seed; ``UserError`` for what is none."""
    if typed is None or typed < 0:
        raise UserError("The seed must be a whole number, 0 or more.")
    return int(typed)
