"""The quickstart in small: what it writes, and that plain SAELens can read the SAE."""

import json
import subprocess
import sys

import pytest
import torch

from mm_sae_plugin.commands.quickstart import QuickstartConfig, run_quickstart

N_PAIRS = 1_500


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("quickstart")
    return out, run_quickstart(QuickstartConfig(out, N_PAIRS), progress=False)


def test_summary_has_the_promised_keys(run):
    out, summary = run
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert summary["n_pairs"] == N_PAIRS
    for key in ("explained_variance", "l0"):
        assert set(summary[key]) == {"image", "text"}
    assert sum(summary["class_counts"].values()) == summary["d_sae"]
    assert summary["score"] == "carried"
    assert summary["d_sae"] == 512
    assert sum(summary["class_counts_paper_score"].values()) == summary["d_sae"]
    assert summary["n_latents_split"] >= 2 * summary["n_concepts_split"] > 0
    for contrasts in ("truth", "truth_paper_score", "truth_untrained"):
        assert set(summary[contrasts]) == {"ImgD_vs_TextD", "ImgD_vs_shared", "TextD_vs_shared"}
    for contrast in summary["truth"].values():
        assert {"value", "low", "high", "n_positive", "n_negative"} <= set(contrast)
    assert summary["calibration"]["n_graded"] == 12
    assert {"extract", "train", "label", "report", "total"} <= set(summary["seconds"])


def test_labels_agree_with_the_truth_even_in_small(run):
    _, summary = run
    assert min(summary["explained_variance"].values()) > 0.75
    assert max(summary["l0"].values()) <= 16
    assert summary["truth"]["ImgD_vs_TextD"]["value"] > 0.85
    assert summary["calibration"]["spearman"] > 0.8


def test_plain_saelens_reads_the_folder_and_reconstructs_the_same(run, tmp_path):
    from mm_sae_plugin import ActivationStore, load_sae

    out, _ = run
    rows = ActivationStore.open(out / "acts").image_rows()[:50]
    sae, _ = load_sae(out / "sae")
    torch.save({"rows": rows, "expected": sae(rows)}, tmp_path / "rows.pt")
    code = f"""
import sys, torch
from sae_lens import SAE
sae = SAE.load_from_disk({str(out / "sae")!r})
saved = torch.load({str(tmp_path / "rows.pt")!r})
with torch.no_grad():
    error = (sae(saved["rows"]) - saved["expected"]).abs().max().item()
assert not any(name.startswith("mm_sae_plugin") for name in sys.modules)
assert len(sae.cfg.metadata.modality["classes"]) == sae.cfg.d_sae
print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) <= 1e-5
