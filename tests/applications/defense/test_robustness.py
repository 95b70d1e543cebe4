"""A whole evaluation in small: what is written, what fails it, and that workers change nothing."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from mm_sae_plugin.applications.defense import robustness
from mm_sae_plugin.applications.defense.contenders import Contender, contenders
from mm_sae_plugin.applications.defense.detection import DETECTORS
from mm_sae_plugin.applications.defense.robustness import check_self_tests, run_robustness
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig
from mm_sae_plugin.applications.defense.self_tests import self_tests
from mm_sae_plugin.applications.defense.tasks import Captioned, Task
from mm_sae_plugin.applications.defense.training_free import RECONSTRUCTION, reconstruction
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model
from mm_sae_plugin.study import Study

CFG = RobustnessConfig(
    n=16, n_others=16, n_strong=16, n_pgd=1, n_apgd=1, n_targeted=1, n_square=2, sweep=(2.0,)
)
KEYS = {"name", "seed", "task", "n", "clean", "static", "adaptive", "wilson"}
TESTS = {
    "gradient",
    "large_eps",
    "monotone",
    "square_not_stronger",
    "converged",
    "deterministic",
    "binarization",
}


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def task():
    return Task.of_world("object", 16)


@pytest.fixture
def short(monkeypatch):
    """Self-tests of a few steps, where they are not what is asked about."""
    few = partial(self_tests, n_steps=1, n_queries=1)
    monkeypatch.setattr(robustness, "self_tests", few)


@pytest.fixture
def no_self_tests(monkeypatch):
    monkeypatch.setattr(robustness, "self_tests_of", lambda *_: {})


def strictly_read(folder):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads((folder / "robustness.json").read_text(), parse_constant=refuse)


@torch.no_grad()
def hidden(rows):
    return rows.clone()


def test_the_record_says_what_was_found(model, task, small_sae, tmp_path, short):
    study = Study.open(small_sae)
    found = contenders(model, (), {RECONSTRUCTION: reconstruction(study.feature_map)})
    tasks = [task, Task.of_world("colour", 16), Task.of_world("backdrop", 16)]
    held_out = [Task.of_world("size", 16)]
    told = {"quick": True}
    returned = run_robustness(
        found, tasks, CFG, tmp_path, Captioned.of_world(16), told, study, held_out, progress=False
    )
    record = strictly_read(tmp_path)
    assert record == json.loads(json.dumps(returned))
    # What trained nothing is on the first and the last task, the others on all.
    everywhere = ["object", "colour", "backdrop", "size"]
    of_names = {"none": everywhere, "factorworld-robust": everywhere}
    of_names[RECONSTRUCTION] = ["object", "backdrop"]
    rows = [(row["name"], row["task"]) for row in record["arms"]]
    assert rows == [(name, each) for name, names in of_names.items() for each in names]
    for row in record["arms"]:
        assert row.keys() >= KEYS and row["n"] == 16 and row["seed"] == 0
        low, high = row["wilson"]
        assert 0 <= low <= row["adaptive"] <= high <= 1 and row["adaptive"] <= row["static"]
        is_first = row["task"] == "object"
        assert bool(row["strong"]) == bool(row["sweep"]) == is_first
        assert (row["retrieval"] is not None) == is_first
        assert ("latents" in row["strong"]) == is_first
    assert record["self_tests"].keys() == TESTS
    for test in record["self_tests"].values():
        assert isinstance(test["passed"], bool) and isinstance(test["figure"], float)
    on_first = {row["name"]: row["adaptive"] for row in record["arms"] if row["task"] == "object"}
    assert on_first[record["tested"]["name"]] == max(on_first.values())
    for name in ("claim_c5", "claim_c5_paper_labels", "beats_fare", "beats_fare_held_out"):
        assert record[name]["verdict"] == "not tested" and record[name]["reason"]
    assert record["held_out"] == ["size"] and record["quick"] is True
    assert record["settings"]["eps"] == CFG.eps and record["settings"]["n_pgd"] == 1
    assert (record["model"], record["weights_id"]) == ("factorworld", model.weights_id)
    assert len(record["paired_tests"]) == len(rows) - len(everywhere)
    # Of 16 images no detector can be judged.
    assert record["detection"] is None and record["seconds"] > 0


def test_workers_change_nothing(model, task, tmp_path, no_self_tests):
    found = contenders(model, (), {"turned": lambda rows: rows.roll(1, 1)})
    rows = []
    for n_workers in (1, 2):
        out = tmp_path / str(n_workers)
        run_robustness(found, [task], CFG, out, n_workers=n_workers, progress=False)
        rows.append([row | {"seconds": 0} for row in strictly_read(out)["arms"]])
    assert [row["name"] for row in rows[0]] == ["none", "factorworld-robust", "turned"]
    assert rows[0] == rows[1]


def test_a_defense_that_hides_gradients_fails_the_run(model, task, tmp_path, monkeypatch):
    few = partial(self_tests, n_steps=4, n_queries=20)
    monkeypatch.setattr(robustness, "self_tests", few)
    # Images made against the bare encoder do little to this one, and its gradients are gone.
    masked = Contender("masked", "training-free", load_model("factorworld-robust"), hidden)
    found = [Contender("none", "undefended", model), masked]
    record = run_robustness(found, [task], CFG, tmp_path, progress=False)
    assert record["tested"] == {"name": "masked", "seed": 0}
    # What was found is there to be looked at.
    assert strictly_read(tmp_path)["tested"]["name"] == "masked"
    failed = [name for name, test in record["self_tests"].items() if not test["passed"]]
    assert {"gradient", "large_eps", "binarization"} <= set(failed)
    with pytest.raises(UserError) as stop:
        check_self_tests(record)
    told = str(stop.value)
    assert told.startswith("The evaluation of masked cannot be believed, its self-test gradient, ")
    assert "0% of images have a gradient" in told and "\n" not in told
    assert all(name in told for name in failed)
    passing = {name: test | {"passed": True} for name, test in record["self_tests"].items()}
    check_self_tests(record | {"self_tests": passing})


def test_a_task_that_nothing_is_right_on_cannot_be_believed(model, task, tmp_path):
    bare = Contender("none", "undefended", model)
    victim = bare.victim(task.classes(model))
    with torch.no_grad():
        worst = victim(victim.pixels(task.pictures)).argmin(1)
    wrong = replace(task, labels=tuple(list(task.prompts)[i] for i in worst))
    record = run_robustness([bare], [wrong], CFG, tmp_path, progress=False)
    (row,) = strictly_read(tmp_path)["arms"]
    assert row["clean"] == row["static"] == row["adaptive"] == 0.0
    with pytest.raises(UserError, match="Not one image is right as it is"):
        check_self_tests(record)


def test_where_nothing_withstands_all_tests_are_still_run(model, task, tmp_path, short):
    bare = [Contender("none", "undefended", model)]
    record = run_robustness(bare, [task], replace(CFG, eps=0.2), tmp_path, progress=False)
    assert record["arms"][0]["adaptive"] == 0.0 < record["arms"][0]["clean"]
    assert record["self_tests"].keys() == TESTS
    assert record["self_tests"]["square_not_stronger"] == {
        "passed": True,
        "figure": 0.0,
        "told": "An attack without gradients breaks 0% of images that the one with gradients "
        "left: hardly any should.",
    }


def test_detectors_are_judged_where_there_are_images_enough(
    model, small_sae, tmp_path, no_self_tests
):
    cfg = replace(CFG, n=100)
    tasks = [Task.of_world("object", 100)]
    study = Study.open(small_sae)
    bare = [Contender("none", "undefended", model)]
    run_robustness(bare, tasks, cfg, tmp_path, study=study, progress=False)
    detection = strictly_read(tmp_path)["detection"]
    assert list(detection) == list(DETECTORS)
    for found in detection.values():
        assert found["n"] == 16 and found["eps"] == cfg.eps and found["n_steps"] == 1
        assert 0 <= found["clean"] <= 1 and 0 <= found["false_positives"] <= 1
        for how in ("static", "adaptive"):
            caught = found[how]
            assert 0 <= caught["evaded"] <= caught["fooled"] <= 1
            assert caught["low"] <= caught["evaded"] <= caught["high"]
            assert caught["detected"] is None or 0 <= caught["detected"] <= 1
        assert found["static"]["evaded"] <= found["adaptive"]["evaded"]


def test_a_folder_that_cannot_be_written_is_refused_before_any_attack(
    model, task, tmp_path, monkeypatch
):
    (tmp_path / "taken").write_text("mine")
    monkeypatch.setattr(robustness.Posed, "of", lambda *_: pytest.fail("was attacked"))
    found = [Contender("none", "undefended", model)]
    with pytest.raises(UserError, match=r"cannot be written \(.*taken is a file, not a folder\)"):
        run_robustness(found, [task], CFG, tmp_path / "taken", progress=False)
    assert (tmp_path / "taken").read_text() == "mine"
