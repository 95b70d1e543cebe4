"""`mm-sae robustness`: FactorWorld and pictures of one's own, and one sentence for wrong input."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mm_sae_plugin.applications.defense import measuring, robustness, tasks
from mm_sae_plugin.applications.defense.contenders import tower_copy
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig
from mm_sae_plugin.applications.defense.self_tests import SelfTest
from mm_sae_plugin.applications.defense.towers import ImageTower, save_tower
from mm_sae_plugin.cli import main
from mm_sae_plugin.models import load_model
from tests.applications.bias.faces import draw_faces, write_table

SMALL = "--n 16 --n-others 16 --n-strong 16 --n-pgd 1 --n-apgd 1 --n-targeted 1 --n-square 1"
FEW = [*SMALL.split(), "--sweep", "2"]
PROMPTS = """
templates: ["young person {} in red left", "old person {} in blue right"]
targets: {nurse: [nurse], pilot: [pilot]}
"""


def save_under(folder: Path, name: str) -> Path:
    """Save an embedded encoder's own tower as if it had been fine-tuned."""
    model = load_model(name)
    tower = ImageTower(tower_copy(model))
    save_tower(folder / "FARE-0", tower, model, {"arm": "FARE", "seed": 0})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twenty pictures with their classes, prompts for them, and what is wrong with some."""
    folder = tmp_path_factory.mktemp("own")
    rows = draw_faces(folder, 20)
    write_table(folder / "own.csv", rows)
    write_table(folder / "broken.csv", [*rows, rows[0] | {"image": "own.csv"}])
    write_table(folder / "one.csv", [row | {"occupation": "nurse"} for row in rows])
    write_table(folder / "few.csv", rows[:5])
    (folder / "prompts.yaml").write_text(PROMPTS)
    (folder / "others.yaml").write_text("targets: [nurse, doctor]")
    (folder / "empty").mkdir()
    save_under(folder / "towers", "factorworld")
    save_under(folder / "foreign", "factorworld-biased")
    return folder


@pytest.fixture
def passing(monkeypatch):
    """Self-tests that pass: what they find is asked elsewhere."""
    passed = SelfTest(True, 1.0, "All is well.")
    monkeypatch.setattr(robustness, "self_tests_of", lambda *_: {"gradient": passed})


def read(out: Path) -> dict:
    ElementTree.parse(out / "robustness.svg")
    return json.loads((out / "robustness.json").read_text())


def test_factorworld(tmp_path, capsys, monkeypatch, passing):
    # A few pairs say as much here.
    few = tasks.Captioned.of_world(16)
    monkeypatch.setattr(tasks.Captioned, "of_world", lambda: few)
    out = tmp_path / "made/here"
    main(["robustness", *FEW, "--out", str(out)])
    told = capsys.readouterr().out
    record = read(out)
    rows = {(row["name"], row["task"]) for row in record["arms"]}
    asked = ("object", "occupation", "colour", "backdrop", "size", "weather")
    names = ("none", "factorworld-robust")
    assert rows == {(name, task) for name in names for task in asked}
    assert len(record["arms"]) == 12 and record["held_out"] == ["size", "weather"]
    assert record["settings"] | {"n": 16, "n_square": 1, "sweep": [2.0]} == record["settings"]
    parts = [
        "what is still right",
        "none ",
        "passed  gradient: All",
        "as was claimed? Not tested. No tower",
        "aligns the whole embedding? Not tested. No towers",
        "All figures are in",
    ]
    places = [told.index(part) for part in parts]
    assert places == sorted(places)
    assert str(out / "robustness.json") in told and "…" not in told


def test_pictures_of_ones_own_with_towers_and_an_sae(
    folder, small_sae, tmp_path, capsys, monkeypatch, passing
):
    quicker = replace(RobustnessConfig().quick(), n_strong=16, n_pgd=1, sweep=(2.0,))
    quicker = replace(quicker, n_apgd=1, n_targeted=1, n_square=1)
    monkeypatch.setattr(RobustnessConfig, "quick", lambda _: quicker)
    asked = ["--images", str(folder / "own.csv"), "--label-col", "occupation"]
    more = ["--prompts", str(folder / "prompts.yaml"), "--towers", str(folder / "towers")]
    main(["robustness", "--quick", *asked, *more, "--sae", str(small_sae), "--out", str(tmp_path)])
    told = capsys.readouterr().out
    record = read(tmp_path)
    assert {row["task"] for row in record["arms"]} == {"own"}
    assert {row["n"] for row in record["arms"]} == {20}
    names = [row["name"] for row in record["arms"]]
    assert names[:4] == ["none", "factorworld-robust", "FARE", "reconstruction"]
    assert all(name.startswith("without ") for name in names[4:]) and names[4:]
    assert record["images"] == "own.csv" and record["quick"] is True
    assert [card["arm"] for card in record["towers"]] == ["FARE"]
    assert record["sae_id"] and record["store_key"] and record["held_out"] == []
    rows = {row["name"]: row for row in record["arms"]}
    # That tower was fine-tuned by nothing.
    assert rows["FARE"]["clean"] == rows["none"]["clean"] > 0.5
    assert rows["none"]["retrieval"] is None
    assert "FARE 0" in told and "passed  gradient: All is well." in told


def test_a_failed_self_test_ends_in_an_error_after_all_is_written(
    folder, tmp_path, capsys, monkeypatch
):
    found = {"gradient": SelfTest(False, 0.0, "No image has any."), "x": SelfTest(True, 1.0, "")}
    monkeypatch.setattr(robustness, "self_tests_of", lambda *_: found)
    asked = ["--images", str(folder / "own.csv"), "--label-col", "occupation"]
    with pytest.raises(SystemExit) as stop:
        main(["robustness", *asked, *FEW, "--out", str(tmp_path)])
    told = capsys.readouterr()
    assert stop.value.code == 2 and "FAILED  gradient: No image has any." in told.out
    error = told.err.splitlines()[-1]
    assert error.startswith("mm-sae: The evaluation of ")
    assert error.endswith("its self-test gradient failed: No image has any.")
    assert read(tmp_path)["self_tests"]["gradient"]["passed"] is False


OWN = ["--images", "{folder}/own.csv", "--label-col", "occupation"]
WRONG = {
    "eps above 1": (["--eps", "1.5"], "eps must be from 0 to 1 in pixels of [0, 1], not 1.5"),
    "eps below 0": (["--eps", "-0.1"], "eps must be from 0 to 1 in pixels of [0, 1], not -0.1"),
    "eps is none": (["--eps", "nan"], "eps must be from 0 to 1 in pixels of [0, 1], not nan"),
    "a length below 0": (["--norm", "L2", "--eps", "-1"], "eps must be from 0 to a finite length"),
    "a budget above 1": (["--eps", "0.6", "--sweep", "2"], "from 0 to 1 in pixels of [0, 1]"),
    "few images": (["--n", "8"], "n is 8: of fewer than 16 images no accuracy can be told"),
    "few others": (["--n-others", "3"], "n_others is 3: of fewer than 16 images"),
    "few rows": (
        ["--images", "{folder}/few.csv", "--label-col", "occupation"],
        "The task 'few' has 5 pictures: of fewer than 16 images",
    ),
    "no steps": (["--n-pgd", "0"], "n_pgd must be a number of steps, at least 1, not 0"),
    "seed": (["--seed", "-1"], "A seed must be a whole number from 0, below 2^63, not -1"),
    "no workers": (["--n-workers", "0"], "--n-workers must be at least 1, not 0"),
    "a label without prompt": (
        [*OWN, "--prompts", "{folder}/others.yaml"],
        "The label 'pilot' of the task 'own' has no prompt: choose from nurse, doctor",
    ),
    "one class": (
        ["--images", "{folder}/one.csv", "--label-col", "occupation"],
        "The task 'one' has one class only",
    ),
    "no such column": (["--images", "{folder}/own.csv"], "has no column 'label'"),
    "no such table": (["--images", "{folder}/gone.csv"], "gone.csv"),
    "a file that is no image": (
        ["--images", "{folder}/broken.csv", "--label-col", "occupation"],
        "The picture 'own.csv' cannot be read: ",
    ),
    "prompts alone": (
        ["--prompts", "{folder}/prompts.yaml"],
        "--prompts is of pictures of your own: give their table as --images",
    ),
    "no towers": (["--towers", "{folder}/empty"], "holds no fine-tuned tower"),
    "no such folder of towers": (["--towers", "{folder}/gone"], "holds no fine-tuned tower"),
    "towers of another encoder": (
        ["--towers", "{folder}/foreign"],
        "was made from factorworld-biased",
    ),
    "an SAE of another model": (
        ["--sae", "{sae}", "--model", "factorworld-biased"],
        "trained on factorworld (sha256:4dec533186d23b3a), but this model is factorworld-biased",
    ),
    "no SAE": (["--sae", "{folder}"], "not an SAE folder"),
    "a store alone": (["--acts", "x"], "give --sae with --acts"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gets_one_sentence(folder, small_sae, tmp_path, capsys, monkeypatch, case):
    # All of it is found before any attack.
    monkeypatch.setattr(measuring, "pgd", lambda *_, **__: pytest.fail("was attacked"))
    asked, named = WRONG[case]
    words = [word.format(folder=folder, sae=small_sae) for word in asked]
    with pytest.raises(SystemExit) as stop:
        main(["robustness", *words, "--out", str(tmp_path / "out")])
    told = capsys.readouterr()
    assert stop.value.code == 2
    assert told.err.startswith("mm-sae: ") and told.err.count("\n") == 1 and named in told.err
    assert told.out == "" and not (tmp_path / "out").exists()
