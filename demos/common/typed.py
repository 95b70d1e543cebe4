"""Numbers and words as people, and scripts, send them."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import gradio as gr

_LONGEST = 9


def whole_number(typed: str, longest: int = _LONGEST) -> int | None:
    """Return a whole number from 0 on, such as ``12`` or ``#12``; None for anything else.

    Numbers of more digits than ``longest`` are none, either: of what pages count, there is nothing
    that has so many.
    """
    digits = typed.strip().removeprefix("#")
    return int(digits) if digits.isdecimal() and len(digits) <= longest else None


def filled(name: str, value: Any, remedy: str = "give at least one word") -> str:
    """Return what a field of text holds.

    Raises
    ------
    UserError
        If it is empty, or, from a script, no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{name} is empty: {remedy}.")
    return value


def number_input(value: float | None, **settings: Any) -> gr.Number:
    """Make a ``gr.Number`` of whole numbers that hands on what is in its field.

    Gradio's own answers what is no number with the word "Error". :func:`whole` reads it.

    Parameters
    ----------
    value : float, optional
        What it holds at first.
    **settings
        For ``gr.Number``; a label is needed.
    """
    import gradio as gr

    return _as_typed(gr.Number)(value, precision=0, **settings)


def whole(name: str, value: Any, least: int = 0, most: int = 999_999_999) -> int:
    """Return a whole number that a field of :func:`number_input` holds.

    Raises
    ------
    UserError
        If it is empty, no whole number, or beyond its limits.
    """
    is_number = not isinstance(value, bool) and isinstance(value, int | float)
    if not is_number or not isfinite(value) or value != int(value) or not least <= value <= most:
        told = "empty" if value is None else f"{value!r:.40}"
        raise UserError(f"{name} must be a whole number, {least} to {most:,}, and is {told}.")
    return int(value)


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

    return _as_typed(gr.Slider)(low, high, value, **settings)


def dropdown_input(choices: list[Any], value: Any, **settings: Any) -> gr.Dropdown:
    """Make a ``gr.Dropdown`` that hands on what is in its field, whatever its choices are by now.

    Gradio's own fails where an event that was on its way brings a value of earlier choices.

    Parameters
    ----------
    choices, value
        What it offers, and holds at first.
    **settings
        For ``gr.Dropdown``; a label is needed.
    """
    import gradio as gr

    return _as_typed(gr.Dropdown)(choices, value=value, **settings)


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


def or_else(read: Callable[[Any], Any], value: Any, otherwise: Any) -> Any:
    """Return a field's value, or another one where ``read`` raises a :class:`UserError` for it."""
    try:
        read(value)
    except UserError:
        return otherwise
    return value


@cache
def _as_typed(component: Any) -> Any:
    """A component that hands on what is in its field.

    A class, since Gradio makes a component anew where an event changes more of it than its value.
    Made past Gradio's own metaclass, which would write a file beside this one.
    """
    names = {"preprocess": lambda _, payload: payload, "__module__": component.__module__}
    return ABCMeta.__new__(type(component), component.__name__, (component,), names)
