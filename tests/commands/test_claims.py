"""`mm-sae claims`: one table of what was found on every claim, and one sentence for wrong input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mm_sae_plugin.applications.claims.claim import CLAIMS, Finding
from mm_sae_plugin.cli import main

N = 200


def evaluated(folder: Path, model: str, spread: float, n: int = N) -> Path:
    """A folder as `mm-sae evaluate` writes it, of scores that lie so far from the middle."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scores = np.clip(rng.normal(0.5, spread, n), 0, 1)
    latents = pd.DataFrame(
        {
            "latent": range(n),
            "class": ["CrossD"] * (n - 1) + ["Dead"],
            "concept": range(n),
            "carried": scores,
            "mean_of_ratios": scores,
        }
    )
    latents.loc[0, "carried"] = np.nan
    latents.to_parquet(folder / "latents.parquet", index=False)
    claims = [
        Finding("C1", "paper", model, "supported", "Skewed | so.", 0.1, 0.05, 0.15, 0.0, n),
        Finding("C3", None, model, "not supported", "Less alike."),
        Finding("C4", "carried", model, "undecided", "Either way."),
    ]
    record = {
        "model": {"name": model},
        "sae": {"sae_id": "sha256:1"},
        "labels": {},
        "parts": {},
        "not_measured": {},
        "claims": [claim.record() for claim in claims],
    }
    (folder / "evaluation.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return (
        evaluated(tmp_path / "plain", "plain", 0.05),
        evaluated(tmp_path / "other", "other", 0.3),
    )


def test_every_claim_stands_in_one_table(folders, tmp_path, capsys):
    plain, other = folders
    out = tmp_path / "claims"
    main(["claims", str(plain), "--self-supervised", str(other), "--out", str(out)])
    record = json.loads((out / "claims.json").read_text("utf-8"))
    rows = record["claims"]
    assert list(dict.fromkeys(row["claim"] for row in rows)) == list(CLAIMS)
    second = [row for row in rows if row["claim"] == "C2"]
    assert [(row["labels"], row["verdict"]) for row in second] == [
        ("carried", "supported"),
        ("paper", "supported"),
    ]
    # Of either folder one latent is dead, and one has no carried score.
    assert [row["n"] for row in second] == [2 * N - 4, 2 * N - 2]
    assert {row["verdict"] for row in rows if row["claim"] in ("C5", "C6", "C7")} == {"not tested"}
    page = (out / "claims.md").read_text("utf-8")
    assert "Skewed \\| so." in page and "+0.100 [+0.050, +0.150]" in page
    assert all(sentence in page for sentence in CLAIMS.values())
    printed = capsys.readouterr().out
    assert "not supported" in printed and "claims.md" in printed


def test_a_folder_that_is_named_twice_counts_once(folders, tmp_path, capsys):
    plain, other = folders
    out = tmp_path / "claims"
    given = [str(other), str(plain), str(other), "--self-supervised", str(other)]
    main(["claims", *given, "--out", str(out)])
    rows = json.loads((out / "claims.json").read_text("utf-8"))["claims"]
    first = [row["model"] for row in rows if row["claim"] == "C1"]
    assert first == ["other", "plain"]
    assert {row["model"] for row in rows if row["claim"] == "C2"} == {"other against plain"}


def test_claims_that_nothing_was_measured_of_say_how(tmp_path, capsys):
    main(["claims", "--out", str(tmp_path / "claims")])
    rows = json.loads((tmp_path / "claims" / "claims.json").read_text("utf-8"))["claims"]
    assert [row["claim"] for row in rows] == list(CLAIMS)
    assert all(row["verdict"] == "not tested" and "mm-sae" in row["reason"] for row in rows)


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["claims", *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("mm-sae: ") and "\n" not in said
    return said


def test_wrong_folders_are_refused(folders, tmp_path, capsys):
    plain, other = folders
    out = ["--out", str(tmp_path / "claims")]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no evaluation.json" in refused(capsys, str(empty), *out)
    same = refused(capsys, str(plain), "--self-supervised", str(plain), *out)
    assert "no evaluation of a plain model to compare" in same
    again = evaluated(tmp_path / "again", "plain", 0.05)
    both = refused(capsys, str(plain), "--self-supervised", str(again), *out)
    assert "are both of plain" in both
    small = evaluated(tmp_path / "small", "small", 0.3, n=50)
    sizes = refused(capsys, str(plain), "--self-supervised", str(small), *out)
    assert "200 latents" in sizes and "compare SAEs of one size" in sizes
    alone = refused(capsys, "--self-supervised", str(other), *out)
    assert "no evaluation of a plain model to compare" in alone
    (other / "latents.parquet").write_bytes(b"PAR1 no more")
    assert "latents.parquet cannot be read" in refused(capsys, str(other), *out)
    (other / "latents.parquet").unlink()
    assert "holds no latents.parquet" in refused(capsys, str(other), *out)
    (plain / "evaluation.json").write_text('{"model": {}}', encoding="utf-8")
    assert "evaluation.json cannot be read" in refused(capsys, str(plain), *out)
    assert not (tmp_path / "claims").exists()
