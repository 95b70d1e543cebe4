"""What is installed: every package of the house, and the demos that lie beside it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.beside.wheel import build_wheel
from tests.demos.started import PYTHON, answer_of, started_demo

ROOT = Path(__file__).parents[1]


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    roots = {"mm_sae_plugin": "mm_sae_plugin", "demos": "mm_sae_plugin.demos"}
    found = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for folder, name in roots.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(listed) == sorted(found)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which the wheel was installed, alone."""
    folder = tmp_path_factory.mktemp("wheel")
    target = folder / "target"
    wheel = build_wheel(folder, isolated=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True
    )
    return target


@pytest.mark.slow
def test_a_demo_starts_from_the_wheel(installed, small_sae, tmp_path):
    # A proxy that answers nothing must not be asked.
    env = {**os.environ, "PYTHONPATH": str(installed), "HTTP_PROXY": "http://127.0.0.1:9"}
    where = "import mm_sae_plugin.demos as demos; print(demos.__file__)"
    told = subprocess.run(
        [*PYTHON, "-c", where], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert Path(told.stdout.strip()) == installed / "mm_sae_plugin/demos/__init__.py"
    with started_demo(small_sae, env=env, cwd=tmp_path) as (process, address):
        assert b"Explorer of latents" in answer_of(address)
        process.terminate()
        assert process.wait(timeout=30) == 143
