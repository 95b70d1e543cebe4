"""`mm-sae evaluate` from start to end on a small SAE, and what its record is used for."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from mm_sae_plugin.cli import main
from mm_sae_plugin.stats.stability_note import read_stability
from mm_sae_plugin.study import Study


def strict(path: Path) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


@pytest.fixture(scope="module")
def evaluated(small_sae, tmp_path_factory) -> tuple[Path, Path]:
    """A copy of a small SAE with its store, and the folder of its evaluation."""
    folder = tmp_path_factory.mktemp("evaluated") / "all"
    # The evaluation notes its result beside the labels, and others share the SAE.
    shutil.copytree(small_sae.parent, folder)
    sae, out = folder / small_sae.name, folder / "evaluation"
    main(["evaluate", "--sae", str(sae), "--out", str(out), "--n-workers", "1"])
    return sae, out


def test_every_part_is_measured_and_nothing_is_nan(evaluated):
    sae, out = evaluated
    record = strict(out / "evaluation.json")
    assert record["not_measured"] == {}
    assert list(record["parts"]) == ["nulls", "stability", "causal", "monosemanticity"]
    n = Study.open(sae).labels.n_features
    latents = pd.read_parquet(out / "latents.parquet")
    assert len(latents) == n and latents.columns.is_unique
    told = {"swap_q", "equal_but_unrelated", "class_survival", "steerability", "embsim_image_20"}
    assert told <= set(latents.columns)
    # Two labels of C1, two labels and three ways to count of C4, and the SAE alone of C3.
    claims = [claim["claim"] for claim in record["claims"]]
    assert claims == sorted(claims)
    assert claims.count("C1") == 2 and claims.count("C4") == 6 and claims.count("C3") == 1
    systems = [row["name"] for row in record["parts"]["monosemanticity"]["rows"]]
    assert systems == ["sae", "raw", "pca"]


def test_the_page_shows_it_and_the_labels_carry_their_stability(evaluated):
    sae, out = evaluated
    page = (out / "report.html").read_text("utf-8")
    for words in (
        "Can the labels be believed?",
        "The same labels under nulls",
        "From another seed",
        "What removing latents does",
        "Beside other features of the same activations",
        "What follows for the paper's claims",
    ):
        assert words in page, words
    drawing = ElementTree.parse(out / "evaluation.svg").getroot()
    said = {element.text for element in drawing.iter() if element.text}
    assert {"the labels", "pairs shuffled", "retrieval R@1"} <= said
    note = read_stability(sae, Study.open(sae).labels.classes)
    assert note is not None and note.sentence() in page


def test_the_report_takes_an_evaluation_of_the_same_sae_alone(
    evaluated, small_sae, tmp_path, capsys
):
    sae, out = evaluated
    page = tmp_path / "page.html"
    main(["report", "--sae", str(sae), "--out", str(page), "--evaluation", str(out)])
    assert "Can the labels be believed?" in page.read_text("utf-8")
    without = tmp_path / "without.html"
    main(["report", "--sae", str(small_sae), "--out", str(without)])
    text = without.read_text("utf-8")
    assert "Can the labels be believed?" not in text
    told = "Whether these classes survive another seed is not known: <code>mm-sae evaluate</code>"
    assert f"{told} tells." in text
    other = tmp_path / "other"
    shutil.copytree(out, other)
    record = strict(other / "evaluation.json")
    record["sae"]["sae_id"] = "sha256:0123456789abcdef"
    (other / "evaluation.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["report", "--sae", str(sae), "--out", str(page), "--evaluation", str(other)])
    assert ended.value.code == 2
    assert "is of the SAE sha256:0123456789abcdef" in capsys.readouterr().err


def test_claims_are_taken_from_it(evaluated, tmp_path):
    _, out = evaluated
    main(["claims", str(out), "--out", str(tmp_path)])
    rows = strict(tmp_path / "claims.json")["claims"]
    measured = {row["claim"] for row in rows if row["verdict"] != "not tested"}
    assert measured == {"C1", "C3", "C4"}


def test_an_sae_without_labels_is_refused_before_anything_is_measured(small_sae, tmp_path, capsys):
    folder = tmp_path / "all"
    shutil.copytree(small_sae.parent, folder)
    sae = folder / small_sae.name
    for name in ("modality.safetensors", "modality.parquet"):
        (sae / name).unlink()
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--sae", str(sae), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "mm-sae mds" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
