"""`mm-sae bias`: an audit of twins or of a table of one's own, and one sentence for wrong input."""

import json
from pathlib import Path

import pandas as pd
import pytest

from mm_sae_plugin.cli import main
from mm_sae_plugin.models.hooked_clip import HookedCLIP
from tests.applications.bias.faces import JOBS, draw_faces, write_table

PROMPTS = """
templates: ["young person {} in red left", "old person {} in blue right"]
targets: {nurse: [nurse], pilot: [pilot]}
direction: {nurse: woman, pilot: man}
groups: {woman: [young woman nurse in red middle], man: [young man nurse in red middle]}
"""
COLUMNS = ["--group-col", "gender", "--target-col", "occupation"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A table of 48 pictures of which one is missing, and a file of prompts."""
    folder = tmp_path_factory.mktemp("own")
    rows = [row | {"year": "2026"} for row in draw_faces(folder, 48)]
    (folder / rows[-1]["image"]).unlink()
    write_table(folder / "faces.csv", rows)
    (folder / "prompts.yaml").write_text(PROMPTS)
    return folder


@pytest.fixture
def own(folder) -> list[str]:
    return ["bias", "--pairs", str(folder / "faces.csv")]


def _record(out: Path) -> dict:
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads((out / "audit.json").read_text(), parse_constant=refuse)


def test_a_table_of_ones_own_with_an_sae(own, folder, small_sae, tmp_path, capsys):
    out = tmp_path / "made/audit"
    asked = [*COLUMNS, "--prompts", str(folder / "prompts.yaml"), "--sae", str(small_sae)]
    main([*own, *asked, "--seed", "3", "--out", str(out)])
    told = capsys.readouterr().out
    # Counts before any metric, and the test of the direction at the end.
    parts = ["Images", "1 row of faces.csv left out", "faces/47.png: no such file", "Gap of woman"]
    assert (at := [told.index(part) for part in [*parts, "the stated direction"]]) == sorted(at)
    record = _record(out)
    assert record["seed"] == 3 and record["groups"]["first"] == "woman"
    assert record["source"]["columns"] == {"group": "gender", "target": "occupation"}
    assert record["source"]["left_out"] == {}
    assert record["source"]["unreadable"] == {"faces/47.png": "no such file"}
    assert record["prompts"]["targets"] == {"nurse": ["nurse"], "pilot": ["pilot"]}
    assert record["sensitivity"]["whole"] == pytest.approx(record["summary"]["value"], abs=1e-4)
    assert record["attribution"]["classes"] and record["mitigations"]
    assert record["model"]["name"] == "factorworld"
    card = (out / "audit_card.html").read_text()
    assert "the stated direction" in card and "data:image/" in card
    counts = pd.read_csv(out / "counts.csv", index_col=0)
    assert counts.loc["man"].to_dict() == {"nurse": 12, "pilot": 11, "all": 23}
    gaps = pd.read_csv(out / "gaps.csv", index_col="target")
    assert sorted(gaps.index) == sorted(JOBS)
    for target, row in gaps.to_dict("index").items():
        assert row["gap"] == pytest.approx(record["targets"][target]["gap"])
        assert row["low"] <= row["gap"] <= row["high"]


def test_twins_and_people_of_ones_own(own, tmp_path, capsys):
    asked = [*COLUMNS, "--twin-col", "twin", "--identity-col", "who", "--first", "man"]
    main(
        [*own, *asked, "--no-sensitivity", "--model", "factorworld-biased", "--out", str(tmp_path)]
    )
    told = capsys.readouterr().out
    assert "1 row of faces.csv left out: its twin's picture cannot be read." in told
    assert "nothing is said of a learned association" in told
    record = _record(tmp_path)
    assert record["groups"]["first"] == "man" and record["sensitivity"] is None
    n_pairs = {"nurse": 12, "pilot": 11}
    counts = {job: {"man": n, "woman": n} for job, n in n_pairs.items()}
    assert record["groups"]["counts"] == counts
    assert {job: found["n"] for job, found in record["targets"].items()} == n_pairs
    assert record["model"]["name"] == "factorworld-biased" and record["sae"] is None
    assert record["attribution_left_out"] == "No SAE was given."


def test_without_a_table_twins_of_factorworld_are_audited(small_sae, tmp_path, capsys, monkeypatch):
    from mm_sae_plugin.applications.bias import record as module, sensitivity, twins

    # A quarter of the pictures says as much here.
    few = lambda *given, **named: twins.draw_twins(*given[:1], 4, **named)  # noqa: E731
    monkeypatch.setattr(sensitivity, "draw_twins", few)
    real = module.record_of_twins
    monkeypatch.setattr(module, "record_of_twins", lambda *a, **k: real(*a, n_per_target=4, **k))
    main(["bias", "--sae", str(small_sae), "--out", str(tmp_path)])
    told = capsys.readouterr().out
    assert told.index("Images") < told.index("Gap of woman") < told.index("the stated direction:")
    record = _record(tmp_path)
    assert record["source"]["kind"] == "twins" and len(record["targets"]) == 8
    assert record["sensitivity"]["changes"] and record["attribution"]["latents"] is not None


def test_more_than_two_groups_are_audited_and_not_attributed(folder, small_sae, tmp_path, capsys):
    rows = draw_faces(folder, 60)
    for row in rows[::3]:
        row["gender"] = "not told"
    table = write_table(folder / "three.csv", rows)
    asked = ["--pairs", str(table), *COLUMNS, "--sae", str(small_sae), "--out", str(tmp_path)]
    main(["bias", *asked])
    told = capsys.readouterr().out
    assert "Without an attribution: What a gap comes from is asked of two groups" in told
    record = _record(tmp_path)
    assert record["groups"]["names"] == ["man", "not told", "woman"]
    assert record["attribution"] is None and record["sensitivity"] is None
    main(["bias", *asked, "--groups", "not told", "man", "--no-sensitivity"])
    record = _record(tmp_path)
    assert record["groups"]["first"] == "not told" and record["attribution"] is not None
    assert record["source"]["left_out"] == {"its group is not asked about": 20}


WRONG = {
    "no such column": (["--group-col", "sex"], "has no column 'sex' for the group"),
    "no layout": ([], "of no layout that is known"),
    "no such group": ([*COLUMNS, "--groups", "man", "boy"], "There is no group 'boy'"),
    "one group": ([*COLUMNS, "--groups", "man"], "All images are of one group, 'man'"),
    "no such first": (
        [*COLUMNS, "--first", "boy"],
        "no group 'boy' for --first: choose from man, woman",
    ),
    "no prompts": (["--group-col", "gender"], "name one, or give prompts"),
    "target without prompts": (
        [*COLUMNS, "--prompts", "{folder}/few.yaml"],
        "'pilot', for which the prompts have no words",
    ),
    "empty prompts": ([*COLUMNS, "--prompts", "{folder}/empty.yaml"], "an empty prompt"),
    "no file of prompts": ([*COLUMNS, "--prompts", "{folder}/gone.yaml"], "cannot be read"),
    "identity in two groups": (
        [*COLUMNS, "--identity-col", "occupation"],
        "is in two groups",
    ),
    "twins that do not pair up": (
        [*COLUMNS, "--twin-col", "occupation"],
        "each needs exactly one image of either",
    ),
    "one target": (
        ["--group-col", "gender", "--target-col", "year"],
        "All images have the target '2026'",
    ),
    "no target of both groups": (
        ["--group-col", "gender", "--target-col", "image"],
        "No target has two images of every group",
    ),
    "seed": ([*COLUMNS, "--seed", "-1"], "A seed must be a whole number from 0"),
    "a store alone": ([*COLUMNS, "--acts", "x"], "give --sae with --acts"),
    "no SAE": ([*COLUMNS, "--sae", "{folder}"], "not an SAE folder"),
    "an SAE of another model": (
        [*COLUMNS, "--sae", "{sae}", "--model", "factorworld-biased"],
        "trained on factorworld (sha256:4dec533186d23b3a), but this model is factorworld-biased",
    ),
    "no such model": ([*COLUMNS, "--model", "ViT-B-33"], "ViT-B-32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gets_one_sentence(own, folder, small_sae, tmp_path, capsys, monkeypatch, case):
    (folder / "few.yaml").write_text("targets: [nurse]")
    (folder / "empty.yaml").write_text("targets: {nurse: [''], pilot: [pilot]}")
    # All of it is found before a picture is embedded.
    monkeypatch.setattr(
        HookedCLIP, "encode_image", lambda *_: pytest.fail("pictures were embedded")
    )
    asked, named = WRONG[case]
    words = [word.format(folder=folder, sae=small_sae) for word in asked]
    with pytest.raises(SystemExit) as stop:
        main([*own, *words, "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert stop.value.code == 2
    assert told.startswith("mm-sae: ") and told.count("\n") == 1 and named in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (["--group-col", "gender"], "--group-col is of pictures of your own"),
        (["--first", "man"], "--first is of pictures of your own"),
        (["--prompts", "{folder}/prompts.yaml"], "The images have the target 'doctor'"),
        (["--prompts", "{folder}/undirected.yaml"], "no direction towards woman and man"),
    ],
)
def test_what_twins_of_factorworld_do_not_take(folder, tmp_path, capsys, asked, named):
    from mm_sae_plugin.factorworld import FACTORS

    jobs = list(FACTORS["occupation"].values)
    (folder / "undirected.yaml").write_text(json.dumps({"targets": jobs}))
    with pytest.raises(SystemExit) as stop:
        main(["bias", *(word.format(folder=folder) for word in asked), "--out", str(tmp_path)])
    assert stop.value.code == 2 and named in capsys.readouterr().err
