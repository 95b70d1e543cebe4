"""No name is used that nothing defines.

Shapes of jaxtyping look like references to names, so the linter and the type checker are told to be
silent about unknown ones. What stands outside of strings is held here.
"""

import json
import subprocess
import sys
import tokenize
from pathlib import Path

from tests.test_layers import DEMOS, PACKAGE


def unknown_names(*folders: Path) -> list[str]:
    """Names without a definition, outside of strings, with their places."""
    checked = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select=F821"]
    told = subprocess.run(
        [*checked, "--output-format=json", *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = []
    for fault in json.loads(told.stdout):
        at = fault["location"]["row"], fault["location"]["column"] - 1
        with tokenize.open(fault["filename"]) as file:
            strings = [
                token
                for token in tokenize.generate_tokens(file.readline)
                if token.type == tokenize.STRING
            ]
        if not any(token.start <= at < token.end for token in strings):
            found.append(f"{fault['filename']}:{at[0]}: {fault['message']}")
    return found


def test_every_name_is_defined():
    assert not unknown_names(PACKAGE, DEMOS, Path(__file__).parent)


def test_an_unknown_name_is_found_and_a_shape_is_none(tmp_path):
    (tmp_path / "one.py").write_text(
        'def f(x: Float[Tensor, "batch"]) -> "Shape":\n    return Missing(x)\n', encoding="utf-8"
    )
    found = unknown_names(tmp_path)
    assert [line.split("`")[1] for line in found] == ["Float", "Tensor", "Missing"]
