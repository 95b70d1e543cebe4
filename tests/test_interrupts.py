"""Ctrl-C reaches the tests and what they start, whatever the suite's parent did with it."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
WAITING = "import time; print('ready', flush=True); time.sleep(60)"


def test_ctrl_c_interrupts_this_process_and_those_it_starts():
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in child.communicate(timeout=30)[1]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_so_it_is_where_the_parent_ignores_it():
    name = test_ctrl_c_interrupts_this_process_and_those_it_starts.__name__
    command = shlex.join([sys.executable, *_PYTEST, f"{__file__}::{name}"])
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT; exec {command}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
