import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sae_lens import SAE

from mm_sae_plugin import cli
from mm_sae_plugin.errors import Terminated
from mm_sae_plugin.training import runner

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.cli import main
from mm_sae_plugin.models import load_model
from mm_sae_plugin.pairs import load_pairs
extract(load_model("factorworld"), load_pairs("factorworld:500"), "acts", ExtractConfig(), False)
print("ready", flush=True)
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_and_is_the_exit_status(tmp_path, number, status):
    arguments = ["train", "--acts", "acts", "--out", "sae", "--training-steps", "1000000"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 60
    # It is at work once it holds its folder; a moment later it has stepped.
    while not (tmp_path / "sae" / ".training.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status, stderr
    # The progress bar draws itself once more at the very end.
    (told,) = [line for line in stderr.splitlines() if line.startswith("mm-sae:")]
    assert told.startswith("mm-sae: Interrupted at step ")
    assert told.endswith("(--resume) to continue.")
    assert [path.name for path in (tmp_path / "sae").iterdir()] == ["checkpoints"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_every_verb_with_a_line(monkeypatch, capsys, number, status):
    def run(self):
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr(cli.VERBS["hooks"], "run", run)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(["hooks"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == status
    assert capsys.readouterr().err.strip() == "mm-sae: Interrupted; run the same command again."


def test_quickstart_is_terminated_as_it_is_interrupted(tmp_path, monkeypatch, capsys):
    def terminated(self):
        raise Terminated("saved a checkpoint")

    monkeypatch.setattr(runner.MultimodalSAETrainingRunner, "run", terminated)
    with pytest.raises(SystemExit) as ended:
        cli.main(["quickstart", "--pairs", "500", "--out", str(tmp_path)])
    assert ended.value.code == 143
    assert "run the same command again to go on" in capsys.readouterr().err


@pytest.mark.parametrize("architecture", ["aligned_topk", "group_topk"])
def test_architectures_for_pairs_train_from_the_command_line(small_sae, tmp_path, architecture):
    weight = ["--arch", architecture, "--pair-coefficient", "0.2"]
    size = ["--d-sae", "64", "--k", "8", "--training-steps", "20"]
    paths = ["--acts", str(small_sae.parent / "acts"), "--out", str(tmp_path / "sae")]
    cli.main(["train", *paths, *weight, *size])
    metadata = SAE.load_from_disk(tmp_path / "sae").cfg.metadata
    assert metadata.training_architecture == architecture


def test_an_unknown_dtype_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--acts", "acts", "--out", "sae", "--dtype", "float17"])
    assert ended.value.code == 2
    assert "Unknown dtype 'float17': choose one of float32" in capsys.readouterr().err


def test_a_pickle_as_an_sae_is_one_line(tmp_path, capsys):
    torch.save({"W_dec": torch.ones(2)}, tmp_path / "sae.pt")
    with pytest.raises(SystemExit) as ended:
        cli.main(["mds", "--sae", str(tmp_path / "sae.pt"), "--acts", str(tmp_path)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is not an SAE folder" in line and "weights_only" not in line
