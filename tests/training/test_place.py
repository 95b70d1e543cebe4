import os
import socket
import subprocess
import sys

import pytest
from sae_lens import StandardTrainingSAEConfig, TrainingSAE
from sae_lens.training.sae_trainer import SAETrainer

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.training.checkpoints import newest_checkpoint
from mm_sae_plugin.training.place import LOCK_FILENAME, ReservedSpace, sole_training_of
from tests.training.test_resume import assert_same_weights, interrupt_at


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_second_training_into_one_folder_is_refused(make_runner, tmp_path):
    out = tmp_path / "sae"
    first, second = make_runner(out=out), make_runner(out=out, seed=1)
    other = make_runner(out=tmp_path / "other", checkpoint_path=out)
    refused = []

    def look_on(*_):
        for runner in (second, other):
            with pytest.raises(UserError, match="Another training is writing into") as told:
                runner.run()
            refused.append(str(told.value))

    # While the first one is at work.
    train = first._train
    first._train = lambda: (look_on(), train())[1]
    first.run()
    assert len(refused) == 2
    assert f"process {os.getpid()} on {socket.gethostname()}" in refused[0]
    assert not (out / LOCK_FILENAME).exists()
    # The first has finished, which the second could not know when it was made.
    with pytest.raises(UserError, match="already holds a trained SAE"):
        second.run()


def test_the_lock_of_a_dead_process_is_taken_over(make_runner, tmp_path):
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mm_sae_plugin.training.place import sole_training_of\n"
        "with sole_training_of([Path(sys.argv[1])]):\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60)
    assert done.returncode == 9
    assert (tmp_path / LOCK_FILENAME).exists()
    make_runner(out=tmp_path).run()
    assert not (tmp_path / LOCK_FILENAME).exists()


def test_a_folder_that_cannot_be_written_is_named(make_runner, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/sae cannot be written \(Not a directory\)"):
        make_runner(out=tmp_path / "file" / "sae").run()


def test_a_training_that_comes_to_nothing_leaves_nothing(tmp_path):
    with sole_training_of([tmp_path / "new"]):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


def test_space_is_reserved_and_given_back(tmp_path):
    with ReservedSpace({tmp_path: 100_000}) as reserve:
        (path,) = tmp_path.iterdir()
        assert path.stat().st_blocks * 512 >= 100_000
        reserve.release()
        assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_from_the_start_is_told_before_the_training(
    make_runner, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    monkeypatch.setattr(SAETrainer, "fit", lambda _: pytest.fail("it trained"))
    with pytest.raises(UserError, match=r"The disk is full: .* has no room for the 1 MB"):
        make_runner(out=tmp_path / "sae").run()
    assert not (tmp_path / "sae").exists()


def test_a_file_system_that_cannot_reserve_is_trained_on(make_runner, tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert make_runner(out=tmp_path).run().path == tmp_path


@pytest.mark.parametrize("normalize_activations", ["none", "expected_average_only_in"])
def test_a_disk_that_is_full_at_the_end_loses_nothing(
    make_runner, tmp_path, monkeypatch, normalize_activations
):
    cfg = StandardTrainingSAEConfig(
        d_in=32, d_sae=48, l1_coefficient=0.1, normalize_activations=normalize_activations
    )
    expected = make_runner(sae=cfg).run()
    with monkeypatch.context() as patch:
        patch.setattr(TrainingSAE, "save_inference_model", no_space)
        with pytest.raises(UserError, match=r"The disk is full: .* what was trained is in"):
            make_runner(sae=cfg, out=tmp_path).run()
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints"}
    resumed = make_runner(sae=cfg, out=tmp_path, resume=True).run()
    assert_same_weights(resumed.sae, expected.sae)
    assert resumed.evaluation == expected.evaluation
    assert not (tmp_path / "checkpoints").exists()


def test_a_disk_that_is_full_at_a_checkpoint_loses_nothing(make_runner, tmp_path, monkeypatch):
    expected = make_runner().run()
    write = SAETrainer.save_trainer_state

    def full_at_first(self, path):
        if "interrupted" not in str(path):
            no_space()
        write(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(SAETrainer, "save_trainer_state", full_at_first)
        with pytest.raises(UserError, match=r"The disk is full: .*interrupted_\d+; free"):
            make_runner(n_checkpoints=1, out=tmp_path).run()
    saved = newest_checkpoint(tmp_path / "checkpoints")
    assert saved is not None and [saved] == list((tmp_path / "checkpoints").iterdir())
    resumed = make_runner(out=tmp_path, resume=True).run()
    assert_same_weights(resumed.sae, expected.sae)


def test_what_is_lost_is_said(make_runner, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingSAE, "save_inference_model", no_space)
    monkeypatch.setattr(SAETrainer, "save_trainer_state", no_space)
    with pytest.raises(UserError, match="the disk is full, and what was trained is lost"):
        make_runner(out=tmp_path).run()
    assert not list(tmp_path.iterdir()) or [*(tmp_path / "checkpoints").iterdir()] == []


def _files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_checkpoint_is_not_lost_to_a_plain_rerun(make_runner, tmp_path, monkeypatch, elsewhere):
    options = {"checkpoint_path": tmp_path / "kept"} if elsewhere else {}
    out = tmp_path / "sae"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(patch, 7)
        make_runner(out=out, **options).run()
    saved = newest_checkpoint(options.get("checkpoint_path", out / "checkpoints"))
    before = _files_of(tmp_path)
    with pytest.raises(UserError, match=f"{saved}: continue .*--resume.*--overwrite"):
        make_runner(out=out, **options)
    assert saved is not None and _files_of(tmp_path) == before
    expected = make_runner().run()
    assert_same_weights(make_runner(out=out, overwrite=True, **options).run().sae, expected.sae)
    assert not saved.exists()


def test_a_checkpoint_that_appears_meanwhile_is_not_lost(make_runner, tmp_path, monkeypatch):
    late = make_runner(out=tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(patch, 7)
        make_runner(out=tmp_path).run()
    before = _files_of(tmp_path)
    with pytest.raises(UserError, match="There is a checkpoint of an earlier training"):
        late.run()
    assert _files_of(tmp_path) == before


@pytest.mark.parametrize(
    "names",
    [
        ("thesis.txt",),
        ("manifest.json", "shard-00000.safetensors"),
        ("cfg.json",),
        ("checksums.json", "holiday.jpg"),
        ("checkpoints/best.pt",),
    ],
)
def test_a_folder_of_something_else_is_never_touched(make_runner, tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UserError, match=r"is not empty and holds no SAE: give a new folder"):
            make_runner(out=tmp_path, **options)
    assert {*_files_of(tmp_path).values()} == {b"years of work"}
    assert len(_files_of(tmp_path)) == len(names)


def test_a_file_is_no_folder_for_an_sae(make_runner, tmp_path):
    (tmp_path / "file").write_text("years of work")
    with pytest.raises(UserError, match=r"file is a file: give a folder for the SAE\."):
        make_runner(out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "years of work"


def test_what_a_training_left_is_no_hindrance(make_runner, tmp_path):
    (tmp_path / "checkpoints" / "interrupted_896").mkdir(parents=True)
    (tmp_path / ".partial-x").mkdir()
    for name in (".training.reserve", "evaluation.json", "sparsity.safetensors", ".a.7.partial"):
        (tmp_path / name).touch()
    assert make_runner(out=tmp_path).run().path == tmp_path
    # The user's own notes beside an SAE stay.
    (tmp_path / "notes.txt").write_text("mine")
    make_runner(out=tmp_path, overwrite=True).run()
    assert (tmp_path / "notes.txt").read_text() == "mine"
