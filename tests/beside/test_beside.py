"""The job's own logic, with real installers on packages that are made up and lie in a folder."""

import re
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.beside.__main__ import main
from tests.beside.bounds import COMBINATIONS, HOSTS, ROOT, Failure, hosts_at, tools
from tests.beside.environment import Environment
from tests.beside.job import QUICK_TESTS, install_beside, moved, prepare
from tests.beside.wheel import build_wheel, check_contents

BOUNDS = ("sae-lens>=6.54,<7", "transformer-lens>=3.9,<4", "open_clip_torch>=3.3,<4")
INSTALLERS = [
    pytest.param(
        "uv", marks=pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
    ),
    "pip",
]


def pyproject(folder: Path, *dependencies: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(f"[project]\ndependencies = {list(dependencies)!r}\n")
    return path


def made_up_wheel(folder: Path, name: str, version: str, *requires: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return path


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Path:
    """A folder of wheels, the only place from which anything is installed."""
    folder = tmp_path / "registry"
    for version in ("6.54.0", "6.54.1", "6.60.0", "7.0.0"):
        made_up_wheel(folder, "sae_lens", version, "helper>=1")
    made_up_wheel(folder, "transformer_lens", "3.9.0")
    made_up_wheel(folder, "open_clip_torch", "3.3.0")
    for version in ("1.0", "2.0"):
        made_up_wheel(folder, "helper", version)
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", nothing.as_uri())
    for variable in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(variable, str(folder))
    return folder


@pytest.fixture
def fresh(request, tmp_path, monkeypatch) -> Environment:
    """A fresh environment with the installer that the test is run for."""
    if request.param == "pip":
        monkeypatch.setattr("shutil.which", lambda name: None)
    return Environment(tmp_path / "environment")


def test_lowest_is_the_bound_and_highest_is_left_to_the_installer(tmp_path):
    path = pyproject(tmp_path, "numpy>=2", *BOUNDS)
    lowest = ["sae-lens==6.54", "transformer-lens==3.9", "open_clip_torch==3.3"]
    assert hosts_at("lowest", path) == lowest
    assert hosts_at("highest", path) == list(BOUNDS)


@pytest.mark.parametrize(
    ("dependency", "told"),
    [
        ("sae-lens>=6.54", "'sae-lens>=6.54' in pyproject.toml is not of the form"),
        ("sae-lens-extra>=6.54,<7", "pyproject.toml requires no sae-lens"),
    ],
)
def test_bounds_that_cannot_be_read_are_named(tmp_path, dependency, told):
    with pytest.raises(Failure, match=re.escape(told)):
        hosts_at("lowest", pyproject(tmp_path, dependency, *BOUNDS[1:]))


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_project_has_bounds_for_every_host_and_tool(combination):
    assert len(hosts_at(combination)) == len(HOSTS)
    assert [re.split("[>=]", tool)[0] for tool in tools()] == ["pytest", "beartype", "hypothesis"]


@pytest.mark.parametrize("test", QUICK_TESTS)
def test_quick_tests_exist(test):
    file, _, function = test.partition("::")
    assert f"def {function or 'test_'}" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("fresh", INSTALLERS, indirect=True)
def test_hosts_are_chosen_kept_and_watched(registry, fresh, tmp_path):
    """In one environment, which takes seconds to make: the lowest stay, move, give way."""
    path = pyproject(tmp_path, *BOUNDS)
    others = "transformer-lens==3.9.0, open_clip_torch==3.3.0"
    lowest = prepare(fresh, hosts_at("lowest", path), ["helper<2"])
    assert lowest == f"sae-lens==6.54.0, {others}"

    content = made_up_wheel(tmp_path / "content", "mm_sae_plugin", "0.1", BOUNDS[0], "helper")
    install_beside(fresh, content, lowest)
    assert fresh.versions()["helper"] == "1.0"
    assert fresh.place_of_the_package(tmp_path).is_relative_to(fresh.folder)

    demanding = made_up_wheel(tmp_path / "demanding", "mm_sae_plugin", "0.2", "sae-lens>6.54.0,<7")
    with pytest.raises(Failure, match=r"3\.3\.0: installing the wheel moved .*6\.54\.0 to 6\.60"):
        install_beside(fresh, demanding, lowest)
    assert prepare(fresh, hosts_at("highest", path), []) == f"sae-lens==6.60.0, {others}"


def test_what_cannot_be_installed_is_named(registry, tmp_path):
    fresh = Environment(tmp_path / "environment")
    with pytest.raises(Failure, match=r"there is no sae-lens==6\.53"):
        prepare(fresh, ["sae-lens==6.53"], [])
    impossible = made_up_wheel(tmp_path / "impossible", "mm_sae_plugin", "0.1", "helper>=9")
    with pytest.raises(Failure, match="lowest: the wheel cannot be installed beside them"):
        install_beside(fresh, impossible, "lowest")
    # The newest is not given up for an older one that would fit.
    made_up_wheel(registry, "sae_lens", "6.61.0", "helper>=3")
    with pytest.raises(Failure, match=r"sae-lens==6\.61\.0, .* cannot be installed together"):
        prepare(fresh, list(BOUNDS), [])


def test_a_removed_package_has_moved_and_a_new_one_has_not():
    assert moved({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == ["a 1 to nothing"]


def test_the_wheel_has_the_whole_package_and_nothing_else(tmp_path):
    wheel = build_wheel(tmp_path, isolated=False)
    check_contents(wheel)
    with ZipFile(wheel, "a") as more:
        more.writestr("tests/__init__.py", "")
    with pytest.raises(Failure, match=r"outside the package: tests/__init__\.py"):
        check_contents(wheel)
    without = tmp_path / "without.whl"
    lost = "mm_sae_plugin/factorworld/weights/factorworld.safetensors"
    with ZipFile(wheel) as whole, ZipFile(without, "w") as part:
        for name in whole.namelist():
            if name != lost:
                part.writestr(name, "")
    with pytest.raises(Failure, match=f"the wheel lacks {lost}"):
        check_contents(without)


def test_every_combination_is_tried_and_the_failed_one_is_named(monkeypatch, capsys):
    def fails_at_the_lowest(combination: str, wheel: Path, folder: Path) -> str:
        if combination == "lowest":
            raise Failure("sae-lens==6.54.0: the quick tests failed")
        return "sae-lens==6.60.0"

    monkeypatch.setattr("tests.beside.__main__.build_wheel", lambda folder: folder)
    monkeypatch.setattr("tests.beside.__main__.check_contents", lambda wheel: None)
    monkeypatch.setattr("tests.beside.__main__.try_combination", fails_at_the_lowest)
    monkeypatch.setattr("sys.argv", ["beside"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == "beside lowest: sae-lens==6.54.0: the quick tests failed"
    assert second.startswith("beside highest: sae-lens==6.60.0: passed in ")
    monkeypatch.setattr("sys.argv", ["beside", "highest"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0


def test_an_unknown_combination_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["beside", "newest"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "there is no combination newest" in capsys.readouterr().err
