"""A demo started as a person starts it, in a process of its own."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Without the folder in which it is started on its path.
PYTHON = (sys.executable, "-P")


@contextmanager
def started_demo(sae: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``mm-sae demo explorer`` until it says its address; yields the process and the address.

    Parameters
    ----------
    sae : Path
    **settings
        For ``subprocess.Popen``.
    """
    command = ["-m", "mm_sae_plugin.cli", "demo", "explorer", "--sae", str(sae)]
    with subprocess.Popen(
        [*PYTHON, *command, "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **settings,
    ) as process:
        try:
            yield process, _address(process)
        finally:
            process.kill()


def answer_of(address: str) -> bytes:
    """Return what a server of this machine answers, whatever proxy is set."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(address, timeout=30) as answer:
        return answer.read()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.match(r"Open (http://127\.0\.0\.1:\d+) ", line):
            return found[1]
    raise AssertionError("".join(lines))
