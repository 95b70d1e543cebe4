"""A fault inside an event becomes a sentence in the page, and the demo goes on."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from mm_sae_plugin.errors import UserError

_LOG = logging.getLogger(__name__)
_BROKEN = "Something went wrong that should not have; the terminal says what. The demo goes on."


def told(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let an event's function, or generator, show its :class:`UserError` in the page.

    Anything else that it raises is logged with its traceback, and the page says so: what an
    exception of another library tells may hold paths, or nothing that helps.
    """
    # Gradio asks what kind of function it gets. Type checkers that wrap functions where they are
    # imported would hide it, and leave a lambda alone.
    if inspect.isgeneratorfunction(inspect.unwrap(handler)):
        named: Any = functools.wraps(handler)
        return named(
            lambda *args, **kwargs: (yield from _stepwise(handler(*args, **kwargs)))  # pyright: ignore[reportReturnType]
        )

    @functools.wraps(handler)
    def at_once(*args: Any, **kwargs: Any) -> Any:
        with _in_a_sentence():
            return handler(*args, **kwargs)

    return at_once


def _stepwise(steps: Iterator[Any]) -> Iterator[Any]:
    with _in_a_sentence():
        yield from steps


def in_page(sentence: str) -> Exception:
    """Return the exception that makes Gradio show a sentence in the page as it stands."""
    import gradio as gr

    # Gradio shows HTML, and sentences quote what somebody typed.
    return gr.Error(escape(sentence), duration=20, print_exception=False)


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    import gradio as gr

    try:
        yield
    except gr.Error:
        raise
    except UserError as error:
        raise in_page(str(error)) from error
    except Exception as error:
        _LOG.exception("A demo failed")
        raise in_page(_BROKEN) from error
