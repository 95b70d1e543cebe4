"""The script that attacks a defense runs as it stands."""

import runpy
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).parents[2] / "demos" / "defend_from_script.py"


def test_both_ways_to_attack_are_told(tmp_path, monkeypatch, capsys):
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    pictures = [line for line in lines if line.startswith("A picture of a ")]
    defended = [line for line in lines if line.startswith("  factorworld-robust: as it is ")]
    assert len(pictures) == len(defended) == 3 and len(lines) == 9
    bare = [line for line in lines if line.startswith("  none: as it is ")]
    # Every attack goes through on the plain encoder; the robust one holds.
    for picture, plain, robust in zip(pictures, bare, defended, strict=True):
        shown = picture.removeprefix("A picture of a ").rstrip(":")
        assert plain.count(f" {shown} ") == 1 and robust.count(f" {shown} ") == 3
    for path in tmp_path.glob("*-attacked.png"):
        assert Image.open(path).size == (48, 48)
    assert list(tmp_path.glob("*.png"))
