"""The script that audits a model runs as it stands, beside a quickstart."""

import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "demos" / "audit_from_script.py"


def test_gaps_verdict_and_latents_are_told(biased_sae, tmp_path, monkeypatch, capsys):
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 30
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/quickstart-biased").symlink_to(biased_sae.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    told = capsys.readouterr().out
    assert told.count(" of 25 pairs of twins") == 8
    assert "The gaps follow the stated direction: 8 of 8 targets" in told
    assert "takes +" in told and "without them: " in told
