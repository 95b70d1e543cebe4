"""The script that edits a latent runs as it stands, beside a quickstart."""

import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "demos" / "edit_from_script.py"


def test_the_similarity_moves_where_a_latent_is_ablated(small_sae, tmp_path, monkeypatch, capsys):
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 30
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/quickstart").symlink_to(small_sae.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    told = capsys.readouterr().out.splitlines()
    moved = [line.split() for line in told if " -> " in line]
    assert len(moved) == 3
    before, _, after = moved[0][:3]
    # What adds most to the similarity is gone.
    assert float(after) < float(before) - 0.01
