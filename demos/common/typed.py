"""Numbers as people type them."""

from __future__ import annotations

_LONGEST = 9


def whole_number(typed: str) -> int | None:
    """Return a whole number from 0 on, such as ``12`` or ``#12``; None for anything else.

    Numbers of more than nine digits are none, either: there is nothing that has so many.
    """
    digits = typed.strip().removeprefix("#")
    return int(digits) if digits.isdecimal() and len(digits) <= _LONGEST else None
