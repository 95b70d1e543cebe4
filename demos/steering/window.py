"""Seeds and windows of steps as the page's fields hold them."""

from __future__ import annotations

from typing import Any

from mm_sae_plugin.demos.common.typed import finite_number, whole
from mm_sae_plugin.errors import UserError

SEED_DIGITS = 15
MOST_SEED = 10**SEED_DIGITS - 1
"""Browsers round larger numbers."""


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
    return whole("The seed", typed, 0, MOST_SEED)
