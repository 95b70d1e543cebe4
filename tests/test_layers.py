"""The rooms of the package depend on each other in one direction only, and so do their files."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mm_sae_plugin

PACKAGE = Path(mm_sae_plugin.__file__).parent
# Beside the package in the checkout, inside it when installed.
DEMOS = PACKAGE.parent / "demos"
# A room imports only from rooms above it.
ROOMS = (
    "errors",
    "files",
    "termination",
    "devices",
    "modality",
    "versions",
    "wording",
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
    "demos",
    "commands",
    "cli",
)
MODULES = sorted(
    {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    | {path.relative_to(DEMOS.parent) for path in DEMOS.rglob("*.py")}
)
STUBS = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.pyi"))


def _text(path: Path) -> str:
    root = DEMOS.parent if _room(path) == "demos" else PACKAGE
    return (root / path).read_text(encoding="utf-8")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(_text(path))


def _room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(("mm_sae_plugin", *(parts[:-1] if parts[-1] == "__init__" else parts)))


FILES = {_dotted(path): path for path in MODULES}
"""Every module by the name under which it is imported."""


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Every import in a file, in functions too: the module, and the name taken from it if any."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, "") for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            yield from ((child.module or "", alias.name) for alias in child.names)
        yield from _imports(child)


class _WithoutTypeChecking(ast.NodeTransformer):
    """Leaves out what is imported for annotations only."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
        return node.orelse if name == "TYPE_CHECKING" else node


def _exports(package: str) -> dict[str, str]:
    """Names that a package hands on, by its stub or by its own imports, to where they live."""
    stub = FILES[package].with_suffix(".pyi")
    names = {}
    if stub in STUBS:
        for node in ast.walk(_tree(stub)):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                module = f"{package}.{node.module}" if node.module else package
                names |= {alias.asname or alias.name: module for alias in node.names}
    for module, name in _imports(_tree(FILES[package])):
        if name and module in FILES and module != package:
            names.setdefault(name, module)
    return names


def _home(module: str, name: str) -> str | None:
    """The module of this package in which an imported name lives, None if it is not ours."""
    if module not in FILES:
        return None
    if f"{module}.{name}" in FILES:
        return f"{module}.{name}"
    further = _exports(module).get(name) if FILES[module].name == "__init__.py" else None
    return module if further is None else _home(further, name)


def _files_needed_by(path: Path) -> set[Path]:
    tree = _WithoutTypeChecking().visit(ast.parse(_text(path)))
    homes = {_home(module, name) for module, name in _imports(tree)}
    return {FILES[home] for home in homes if home is not None} - {path}


@cache
def _graph() -> dict[Path, set[Path]]:
    return {path: _files_needed_by(path) for path in MODULES}


def _assert_no_circle(graph: dict[Path, set[Path]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " → ".join(str(path) for path in reversed(error.args[1]))
        message = f"These files import each other in a circle: {circle}"
    else:
        return
    pytest.fail(message, pytrace=False)


@pytest.mark.parametrize("path", [p for p in MODULES if p != Path("__init__.py")], ids=str)
def test_module_imports_only_from_rooms_above(path):
    own = _room(path)
    assert own in ROOMS, f"{path} lies in a room that the list of layers does not know"
    homes = {_home(module, name) for module, name in _imports(_tree(path))}
    needed = {_room(FILES[home]) for home in homes if home not in (None, "mm_sae_plugin")}
    below = {room for room in needed if ROOMS.index(room) > ROOMS.index(own)}
    assert not below


@pytest.mark.parametrize("room", ROOMS)
def test_no_circle_within_a_room(room):
    inside = {path for path in MODULES if _room(path) == room}
    _assert_no_circle({path: _graph()[path] & inside for path in inside})


def test_no_circle_in_the_package():
    _assert_no_circle(_graph())


def test_imports_are_followed_to_where_a_name_lives():
    """Through a lazy stub, a package's own imports and functions, but not into annotations."""
    assert _home("mm_sae_plugin", "HookedCLIP") == "mm_sae_plugin.models.hooked_clip"
    assert _home("mm_sae_plugin.factorworld", "FactorWorld") == "mm_sae_plugin.factorworld.world"
    drawing = "mm_sae_plugin.factorworld.drawing"
    assert _home(drawing, "pen") == f"{drawing}.pen"
    assert _home("torch", "Tensor") is None
    embedded = {
        "files.py",
        "errors.py",
        "factorworld/architecture.py",
        "factorworld/tokenizer.py",
    }
    assert {path.as_posix() for path in _graph()[Path("factorworld/embedded.py")]} == embedded
    circle = {Path("a.py"): {Path("b.py")}, Path("b.py"): {Path("a.py")}}
    with pytest.raises(pytest.fail.Exception, match=r"a\.py → b\.py → a\.py|b\.py → a\.py → b\.py"):
        _assert_no_circle(circle)


@pytest.mark.parametrize("stub", STUBS, ids=str)
def test_names_in_a_stub_exist(stub):
    package = importlib.import_module(_dotted(stub))
    aliases = [
        alias
        for node in ast.walk(_tree(stub))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    names = [alias.asname or alias.name for alias in aliases]
    assert names and len(set(names)) == len(names)
    for name in names:
        assert getattr(package, name) is not None, name
    assert set(names) <= set(dir(package))


def test_the_demos_are_among_the_modules():
    assert FILES["mm_sae_plugin.demos.explorer"] == Path("demos/explorer/__init__.py")
    assert Path("study/study.py") in _graph()[Path("demos/common/manifest.py")]


def test_no_relative_imports():
    for path in MODULES:
        relative = [n for n in ast.walk(_tree(path)) if isinstance(n, ast.ImportFrom) and n.level]
        assert not relative, path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_files_stay_short(path):
    assert len(_text(path).splitlines()) <= 400
