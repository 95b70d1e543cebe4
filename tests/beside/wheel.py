"""The wheel of the checkout: how it is built, and what must be in it."""

import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

from tests.beside.bounds import ROOT, Failure
from tests.beside.environment import checked

_FOLDERS = {"mm_sae_plugin": "mm_sae_plugin", "demos": "mm_sae_plugin/demos"}
"""Folders of the checkout, and where the wheel has them."""


def build_wheel(folder: Path, *, isolated: bool = True) -> Path:
    """Build the wheel in a folder and return its path.

    Parameters
    ----------
    folder
        Where the build leaves what it needs, and the wheel.
    isolated
        Whether setuptools comes fresh from the registry, as for a user, or is this
        environment's own, without the network.

    Raises
    ------
    Failure
        If no wheel can be built.
    """
    # A copy, since a build leaves its folders behind, and takes up what earlier ones left.
    source, wheels = folder / "source", folder / "wheels"
    ignored = shutil.ignore_patterns("__pycache__")
    for part in _FOLDERS:
        shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=ignored)
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, source / part)
    if isolated and (uv := shutil.which("uv")):
        command = [uv, "build", "-q", "--wheel", "--out-dir", str(wheels)]
    else:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        own = [] if isolated else ["--no-index", "--no-build-isolation"]
        command = [*pip, "wheel", "--no-deps", *own, "-w", str(wheels)]
    checked([*command, str(source)], "no wheel can be built")
    (wheel,) = wheels.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """See that the wheel has every file of the package but its prose, and nothing else.

    Raises
    ------
    Failure
        If a file is missing, or lies outside the package.
    """
    names = set(ZipFile(wheel).namelist())
    if missing := sorted(_expected() - names):
        raise Failure(f"the wheel lacks {', '.join(missing)}")
    if foreign := [n for n in names if not n.startswith(("mm_sae_plugin/", "mm_sae_plugin-"))]:
        raise Failure(f"the wheel has files outside the package: {', '.join(sorted(foreign))}")


def _expected() -> set[str]:
    return {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in _FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    }
