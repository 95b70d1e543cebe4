"""The combinations that the wheel is tried beside, read from ``pyproject.toml``."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOSTS = ("sae-lens", "transformer-lens", "open_clip_torch")
"""What a user has before the plugin comes, and what the plugin must leave as it is."""
COMBINATIONS = ("lowest", "highest")
TOOLS = ("pytest", "beartype", "hypothesis")
"""What the quick tests need besides the package."""

_BOUNDED = re.compile(r"(?P<name>[\w.-]+) *>= *(?P<lower>[\w.]+) *, *< *(?P<upper>[\w.]+)")


class Failure(Exception):
    """What went wrong, in one sentence."""


def hosts_at(combination: str, pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Return requirements that choose one version of every host.

    Parameters
    ----------
    combination
        ``"lowest"``: exactly the lower bound; ``"highest"``: between the bounds, of which an
        installer that looks at nothing else takes the newest.
    pyproject
        The file with the bounds.

    Raises
    ------
    Failure
        If a host is not a dependency, or has not the form ``name>=lower,<upper``.
    """
    dependencies = _project(pyproject)["dependencies"]
    return [_at(combination, _of(host, dependencies)) for host in HOSTS]


def tools(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Return the requirements of the quick tests, as the extra ``test`` has them."""
    listed = _project(pyproject)["optional-dependencies"]["test"]
    return [_of(tool, listed) for tool in TOOLS]


def _project(pyproject: Path) -> dict:
    return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]


def _at(combination: str, requirement: str) -> str:
    bounds = _BOUNDED.fullmatch(requirement)
    if bounds is None:
        raise Failure(f"{requirement!r} in pyproject.toml is not of the form name>=lower,<upper")
    return requirement if combination == "highest" else f"{bounds['name']}=={bounds['lower']}"


def _of(name: str, requirements: list[str]) -> str:
    for requirement in requirements:
        if re.split(r"[^\w.-]", requirement, maxsplit=1)[0] == name:
            return requirement
    raise Failure(f"pyproject.toml requires no {name}")
