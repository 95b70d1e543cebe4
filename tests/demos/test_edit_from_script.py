"""The script that edits a latent runs as it stands, beside a quickstart."""

import os
import subprocess
import sys
from pathlib import Path

from mm_sae_plugin.commands.quickstart import QuickstartConfig, run_quickstart

SCRIPT = Path(__file__).parents[2] / "demos" / "edit_from_script.py"


def test_the_similarity_moves_where_a_latent_is_ablated(tmp_path):
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 30
    run_quickstart(QuickstartConfig(tmp_path / "runs/quickstart", 1_500), progress=False)
    done = subprocess.run(
        [sys.executable, SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    moved = [line.split() for line in done.stdout.splitlines() if " -> " in line]
    assert len(moved) == 3
    before, _, after = moved[0][:3]
    # What adds most to the similarity is gone.
    assert float(after) < float(before) - 0.01
