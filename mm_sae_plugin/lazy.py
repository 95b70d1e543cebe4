"""Public names that are imported on first use, so that importing the package stays cheap."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` (PEP 562) of a package whose names live in other modules.

    Parameters
    ----------
    package
        The package's ``__name__``.
    homes
        Public name to the module that defines it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        # A module may have the name of what it holds, so the name is set once and for all.
        setattr(sys.modules[package], name, value)
        return value

    return get
