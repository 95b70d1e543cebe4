"""The rooms of the package depend on each other in one direction only."""

import ast
from pathlib import Path

import pytest

import mm_sae_plugin

PACKAGE = Path(mm_sae_plugin.__file__).parent
# A room imports only from rooms above it.
ROOMS = (
    "errors",
    "files",
    "devices",
    "modality",
    "hooks",
    "factorworld",
    "pairs",
    "saes",
    "features",
    "models",
    "activations",
    "engines",
    "stats",
    "training",
    "study",
    "interventions",
    "applications",
    "report",
    "commands",
    "cli",
)
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def _room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            parts = name.split(".")
            if parts[0] == "mm_sae_plugin" and len(parts) > 1:
                rooms.add(parts[1])
    return rooms


@pytest.mark.parametrize("path", [p for p in MODULES if p != Path("__init__.py")], ids=str)
def test_module_imports_only_from_rooms_above(path):
    own = _room(path.parts)
    assert own in ROOMS, f"{path} lies in a room that the list of layers does not know"
    below = {room for room in _imported_rooms(path) if ROOMS.index(room) > ROOMS.index(own)}
    assert not below


def test_no_relative_imports():
    for path in MODULES:
        tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
        relative = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
        assert not relative, path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_files_stay_short(path):
    assert len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) <= 400
