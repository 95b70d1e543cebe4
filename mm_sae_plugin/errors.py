"""What is meant for the person at the keyboard: one exception, and the clauses of its sentence."""

import pickle
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


class UserError(Exception):
    """Wrong input from outside: one clear sentence that names the thing and the remedy.

    The command line prints the sentence and exits with status 2; a script sees an ordinary
    exception. Broken invariants of the package itself are ``AssertionError`` instead.
    """


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM), and was stopped as Ctrl-C stops it.

    The command line exits with status 143 instead of 130.
    """


def one_line(error: BaseException) -> str:
    """Return another library's message as a clause of ours: its first line, without advice.

    Readers of pickles advise to switch their safety off, in several lines.
    """
    if isinstance(error, pickle.UnpicklingError):
        return "it is a pickle of something else, which could run code"
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def kind_of(value: Any) -> str:
    """Return what kind of thing somebody gave, with its article: ``"an int"``, ``"a str"``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_numbers(cfg: Any) -> None:
    """Raise :class:`UserError` where a field of a config is to be a number and is none.

    A field called ``seed`` must be one that :func:`check_seeds` lets through.

    Parameters
    ----------
    cfg : dataclass
        Fields of type ``int`` or ``float``, also with ``| None``, are looked at; NumPy's numbers
        are numbers, and truth values are not.
    """
    hints = get_type_hints(type(cfg))
    for field in fields(cfg):
        value, hint = getattr(cfg, field.name), hints[field.name]
        kinds = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
        if kinds - {NoneType} not in ({int}, {float}) or (value is None and NoneType in kinds):
            continue
        number, said = (Integral, "a whole number") if int in kinds else (Real, "a number")
        if isinstance(value, bool) or not isinstance(value, number):
            raise UserError(f"{field.name} must be {said}, not {value!r:.40}.")
        if field.name == "seed":
            check_seeds(getattr(cfg, field.name))


def check_seeds(*seeds: int) -> None:
    """Raise :class:`UserError` for a seed that not every generator takes: below 0 or from 2^63."""
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise UserError(f"A seed must be a whole number from 0, below 2^63, not {seed}.")
