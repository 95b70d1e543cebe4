"""Numbers as people type them."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import gradio as gr

_LONGEST = 9


def whole_number(typed: str) -> int | None:
    """Return a whole number from 0 on, such as ``12`` or ``#12``; None for anything else.

    Numbers of more than nine digits are none, either: there is nothing that has so many.
    """
    digits = typed.strip().removeprefix("#")
    return int(digits) if digits.isdecimal() and len(digits) <= _LONGEST else None


def slider_input(low: float, high: float, value: float, **settings: Any) -> gr.Slider:
    """Make a ``gr.Slider`` that hands on what is in its field, for :func:`finite_number`.

    Gradio's own answers an empty field with the word "Error".

    Parameters
    ----------
    low, high, value : float
        Its ends, and where it stands at first.
    **settings
        For ``gr.Slider``; a label is needed.
    """
    import gradio as gr

    component = gr.Slider(low, high, value, **settings)
    component.preprocess = _as_it_is
    return component


def finite_number(name: str, value: Any) -> float:
    """Return a number that a field holds.

    Raises
    ------
    UserError
        If it is empty, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        told = "empty" if value is None else f"{value!r:.40}"
        raise UserError(f"{name} must be a finite number, and is {told}.")
    return float(value)


def _as_it_is(payload: Any) -> Any:
    return payload
