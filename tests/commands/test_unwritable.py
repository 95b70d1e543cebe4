"""Whatever writes at its end finds out first whether it can."""

import errno
from pathlib import Path

import pytest

from mm_sae_plugin.applications.label_truth import run_sweep
from mm_sae_plugin.applications.label_truth.config import SweepConfig
from mm_sae_plugin.cli import main
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.recipes import train_clip
from mm_sae_plugin.study import Study
from tests.labelled import sae_of_empty_files


@pytest.fixture
def taken(tmp_path, monkeypatch) -> Path:
    """A file, where a folder is wanted; what comes after the check would fail otherwise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    sae_of_empty_files(tmp_path / "empty")
    return tmp_path / "taken"


@pytest.mark.parametrize(
    "asked",
    [
        ["steering-eval", "--sae", "empty", "--out", "taken"],
        ["steering-sweep", "--sae", "empty", "--out", "taken/sweep.png"],
        ["report", "--sae", "empty", "--out", "taken/report.html"],
        ["truth", "--out", "taken"],
        ["bias", "--sae", "empty", "--out", "taken"],
        ["quickstart", "--out", "taken"],
    ],
)
def test_commands_say_so_before_anything_is_opened(taken, asked, capsys):
    with pytest.raises(SystemExit):
        main(asked)
    # Lines of any width.
    told = " ".join(capsys.readouterr().err.split())
    assert "cannot be written (taken is a file, not a folder)" in told
    assert taken.read_text() == "mine"
    assert sorted(path.name for path in taken.parent.iterdir()) == ["empty", "taken"]


def test_a_drawing_that_is_a_folder(taken, capsys):
    for name, asked in (
        ("steering.svg", ["steering-eval", "--sae", "empty"]),
        ("truth.svg", ["truth"]),
    ):
        (taken.parent / "out" / name).mkdir(parents=True)
        with pytest.raises(SystemExit):
            main([*asked, "--out", "out"])
        assert f"out/{name} is a folder: give the name" in capsys.readouterr().err


def test_recipes_and_the_library_say_so_too(taken, tmp_path):
    with pytest.raises(UserError, match="taken is a file"):
        run_sweep(SweepConfig(out=taken))
    with pytest.raises(UserError, match="taken is a file"):
        train_clip.train_clip(train_clip.TrainCLIPConfig(taken, cache=tmp_path / "cache"))
    pytest.importorskip("diffusers")
    from mm_sae_plugin.factorworld.recipes.evaluate_generator import (
        EvaluateGeneratorConfig,
        evaluate_generator,
    )

    with pytest.raises(UserError, match="taken is a file"):
        evaluate_generator(EvaluateGeneratorConfig(taken, folder=tmp_path / "gone"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "taken"]


def test_labels_are_not_scored_for_a_folder_that_cannot_be_written(small_sae, monkeypatch):
    study = Study.open(small_sae)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    # As a read-only file system does; permissions do not stop root.
    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(Study, "store", property(lambda _: pytest.fail("the pass began")))
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        study.label()
