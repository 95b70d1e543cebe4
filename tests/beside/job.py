"""One combination: prepare the environment, install the wheel, see what moved, run the tests."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.beside.bounds import HOSTS, ROOT, Failure, hosts_at, tools
from tests.beside.environment import Environment, clean_variables

QUICK_TESTS = (
    # A model is loaded, TransformerLens' cache holds what its hooks see, SAELens' SAEs splice in.
    "tests/models/test_loading.py",
    "tests/models/test_activation_cache.py",
    "tests/models/test_sae_lens_wrapper.py",
    "tests/models/test_splicing.py::test_output_is_the_reconstruction_at_the_joint_site",
    "tests/models/test_splicing.py::test_a_shared_sae_serves_both_towers",
    # An SAE is trained by SAELens' trainer, and loaded by plain SAELens.
    "tests/saes/test_architectures.py",
    "tests/saes/test_folder.py",
    "tests/saes/sparse/test_language_model.py",
    "tests/training/test_runner.py::test_every_architecture_learns_and_is_saved",
    "tests/training/test_runner.py::test_folder_loads_where_the_package_is_never_imported",
    # From pictures to a labelled SAE, and its labels read back.
    "tests/training/test_from_store.py",
    "tests/test_study.py::test_labels_and_findings_agree_when_the_study_is_opened_again",
    "tests/test_study.py::test_pictures_and_captions_are_encoded_as_the_store_was",
)


def try_combination(combination: str, wheel: Path, folder: Path) -> str:
    """Install the wheel beside one combination of hosts and run the quick tests there.

    Parameters
    ----------
    combination
        ``"lowest"`` or ``"highest"``.
    wheel
        What is installed.
    folder
        An empty one, for the environment and a copy of the tests.

    Returns
    -------
    str
        The hosts with their versions.

    Raises
    ------
    Failure
        If something cannot be installed, the wheel moves a package, or a test fails.
    """
    environment = Environment(folder / "environment")
    hosts = prepare(environment, hosts_at(combination), tools())
    print(f"+ {combination}: {hosts}", flush=True)
    install_beside(environment, wheel, hosts)
    _run_tests(environment, folder / "tried", hosts)
    return hosts


def prepare(environment: Environment, hosts: list[str], others: list[str]) -> str:
    """Install the hosts with all that they need, and other requirements; return their versions."""
    # Alone at first, so that nothing that they need keeps the newest of one from being chosen.
    environment.install("--no-deps", *hosts, otherwise=f"there is no {' or no '.join(hosts)}")
    versions = environment.versions()
    pins = [f"{host}=={_version(host, versions)}" for host in HOSTS]
    together = ", ".join(pins)
    environment.install(*pins, *others, otherwise=f"{together}: they cannot be installed together")
    return together


def install_beside(environment: Environment, wheel: Path, hosts: str) -> None:
    """Install the wheel, and see that every package that was there is there as it was."""
    before = environment.versions()
    environment.install(str(wheel), otherwise=f"{hosts}: the wheel cannot be installed beside them")
    if moves := moved(before, environment.versions()):
        raise Failure(f"{hosts}: installing the wheel moved {', '.join(moves)}")


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what became of every package that is no longer there as it was before."""
    return [
        f"{name} {version} to {after.get(name, 'nothing')}"
        for name, version in sorted(before.items())
        if after.get(name) != version
    ]


def _run_tests(environment: Environment, folder: Path, hosts: str) -> None:
    """Run the quick tests on a copy that lies where the checkout cannot be imported."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=ignored)
    # For pytest's settings.
    shutil.copy(ROOT / "pyproject.toml", folder)
    place = environment.place_of_the_package(folder)
    if not place.resolve().is_relative_to(environment.folder.resolve()):
        raise Failure(f"{hosts}: the tests would import {place}, not the installed wheel")
    command = [str(environment.python), "-m", "pytest", "-q", *QUICK_TESTS]
    if subprocess.run(command, cwd=folder, env=clean_variables()).returncode:
        raise Failure(f"{hosts}: the quick tests failed")


def _version(host: str, versions: Mapping[str, str]) -> str:
    """Look a package up as an installer does: dashes, underscores and case are all one."""
    same = {name.lower().replace("_", "-"): version for name, version in versions.items()}
    return same[host.lower().replace("_", "-")]
