"""The script that steers a prompt runs as it stands, beside a quickstart."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("diffusers")

from mm_sae_plugin.factorworld.generator import save_generator
from tests.factorworld.generator.tiny import tiny_pipeline

SCRIPT = Path(__file__).parents[2] / "demos" / "steer_from_script.py"


def test_what_is_read_is_told_for_every_class(small_sae, tmp_path, monkeypatch, capsys):
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 30
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/quickstart").symlink_to(small_sae.parent)
    save_generator(tiny_pipeline(), tmp_path / "generator")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "generator"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    told = capsys.readouterr().out
    before = Image.open("before.png")
    drawn = sorted(path.stem.removeprefix("after-") for path in tmp_path.glob("after-*.png"))
    assert drawn and all(f"{name} moves the vector by " in told for name in drawn)
    for name in drawn:
        after = Image.open(f"after-{name}.png")
        assert after.size == before.size == (64, 64)
    assert any(Image.open(f"after-{name}.png").tobytes() != before.tobytes() for name in drawn)
    assert told.count("colour: asked red, ") == told.count("object: asked car, ") == len(drawn)
