"""Which versions of packages something was computed with."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("mm_sae_plugin", "sae-lens", "transformer-lens", "open_clip_torch", "torch")


def versions(*others: str) -> dict[str, str | None]:
    """Return the versions of Python, of what the package builds on, and of other packages.

    None stands for a package that is not installed.
    """
    return {"python": platform.python_version(), **dict(_found((*_PACKAGES, *others)))}


def _found(packages: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    for package in packages:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, None
