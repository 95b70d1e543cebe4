"""A fresh virtual environment, filled by ``uv`` where there is one and by pip otherwise."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.beside.bounds import Failure

_VERSIONS = """
import importlib.metadata as metadata, json
print(json.dumps({d.metadata["Name"]: d.version for d in metadata.distributions()}))
"""
_PLACE = """
import importlib.util as util
spec = util.find_spec("mm_sae_plugin")
print(spec.origin if spec else "")
"""


class Environment:
    """A virtual environment in a folder, of the Python that runs this."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self._uv = shutil.which("uv")
        make = [sys.executable, "-m", "venv"]
        if self._uv:
            make = [self._uv, "venv", "-q", "--python", sys.executable]
        checked([*make, str(folder)], "no virtual environment can be made")

    def install(self, *arguments: str, otherwise: str) -> None:
        """Install requirements; `otherwise` says what has failed if that cannot be done."""
        command = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        if self._uv:
            command = [self._uv, "pip", "install", "-q", "--python", str(self.python)]
        checked([*command, *arguments], otherwise)

    def versions(self) -> dict[str, str]:
        """Return the version of every package that is installed, by its name."""
        return json.loads(self.run("-c", _VERSIONS))

    def place_of_the_package(self, cwd: Path) -> Path:
        """Return the file from which a program started in a folder imports the package."""
        return Path(self.run("-c", _PLACE, cwd=cwd).strip())

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Return what a Python program of the environment prints."""
        command = [str(self.python), *arguments]
        # Not the checkout, which `-c` would import from the folder that this runs in.
        return checked(command, "Python does not run there", cwd=cwd or self.folder)


def clean_variables() -> dict[str, str]:
    """Return this process' variables without those that lead Python to other packages."""
    leading_away = {"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in leading_away}
    # Two OpenMP threads on a busy small machine can be 50 times slower than one.
    return {"OMP_NUM_THREADS": "1", **kept}


def checked(command: list[str], otherwise: str, cwd: Path | None = None) -> str:
    """Return what a command prints; if it fails, show that and raise `Failure(otherwise)`."""
    done = subprocess.run(command, cwd=cwd, env=clean_variables(), capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise Failure(otherwise)
    return done.stdout
