import _thread
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import training_sae_config
from mm_sae_plugin.training import interruption
from mm_sae_plugin.training.checkpoints import newest_checkpoint

STEPS = 60


def assert_same_weights(sae, expected):
    assert sae.state_dict().keys() == expected.state_dict().keys()
    for name, weights in sae.state_dict().items():
        assert torch.equal(weights, expected.state_dict()[name]), name


def interrupt_at(monkeypatch, n_batches: int) -> None:
    """Press Ctrl-C while the trainer works on a batch: in the main thread, as a terminal does."""
    take = interruption.StoppableBatches.__next__

    def counting(self):
        batch = take(self)
        if self._batches.n_batches == n_batches:
            _thread.interrupt_main()
            # Let the main thread see it before this step ends.
            deadline = time.monotonic() + 10
            while not self._stop.is_set() and time.monotonic() < deadline:
                time.sleep(0.001)
        return batch

    monkeypatch.setattr(interruption.StoppableBatches, "__next__", counting)


@pytest.mark.parametrize(
    "architecture",
    [
        *("topk", "batchtopk", "jumprelu", "standard", "gated", "sparse_topk", "sparse_batchtopk"),
        *("aligned_topk", "group_topk"),
    ],
)
def test_interrupted_and_resumed_gives_the_same_bits(
    make_runner, tmp_path, monkeypatch, architecture
):
    options = {"architecture": architecture, "training_steps": STEPS}
    if architecture.startswith("sparse_"):
        # At this small size they would choose the dense step.
        config = training_sae_config(architecture, d_in=32, d_sae=48, k=6)
        options["sae"] = dataclasses.replace(config, sparse_kernels=True)
    expected = make_runner(**options).run()
    # 7 lies in the warm-up, 47 in the decay.
    for n_batches in (7, 47):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt_at(patch, n_batches)
            make_runner(**options, out=tmp_path / "sae", resume=n_batches > 7).run()
        saved = newest_checkpoint(tmp_path / "sae" / "checkpoints")
        assert saved is not None and saved.name == f"interrupted_{n_batches * 128}"
        assert not (tmp_path / "sae" / "cfg.json").exists()
    resumed = make_runner(**options, out=tmp_path / "sae", resume=True).run()
    assert_same_weights(resumed.sae, expected.sae)
    assert resumed.evaluation == expected.evaluation
    assert resumed.sae.cfg.metadata.l0 == expected.sae.cfg.metadata.l0
    assert not (tmp_path / "sae" / "checkpoints").exists()


@pytest.mark.parametrize("kept", range(3))
def test_every_kept_checkpoint_continues_the_same_run(make_runner, tmp_path, kept):
    options = {"training_steps": STEPS, "n_checkpoints": 3, "normalize": "per_modality_scale"}
    expected = make_runner(**options, out=tmp_path / "whole").run()
    folder = tmp_path / "whole" / "checkpoints"
    found = sorted(folder.iterdir(), key=lambda path: int(path.name))
    assert len(found) == 3
    (tmp_path / "again" / "checkpoints").mkdir(parents=True)
    found[kept].rename(tmp_path / "again" / "checkpoints" / found[kept].name)
    resumed = make_runner(**options, out=tmp_path / "again", resume=True).run()
    assert_same_weights(resumed.sae, expected.sae)
    assert resumed.sae.cfg.metadata.l0 == expected.sae.cfg.metadata.l0
    # Only the checkpoints that were still to come are written.
    again = {path.name for path in (tmp_path / "again" / "checkpoints").iterdir()}
    assert again == {path.name for path in found[kept:]}


def test_a_checkpoint_that_was_cut_off_is_passed_over(make_runner, tmp_path):
    make_runner(training_steps=STEPS, n_checkpoints=3, out=tmp_path).run()
    found = sorted((tmp_path / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (found[-1] / "multimodal_state.json").unlink()
    assert newest_checkpoint(tmp_path / "checkpoints") == found[-2]


def test_a_damaged_checkpoint_is_named(make_runner, tmp_path):
    make_runner(training_steps=STEPS, n_checkpoints=1, out=tmp_path).run()
    (tmp_path / "cfg.json").unlink()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    (checkpoint / "trainer_state.pt").write_bytes(b"cut")
    with pytest.raises(UserError, match=f"{checkpoint.name} cannot be read"):
        make_runner(training_steps=STEPS, out=tmp_path, resume=True).run()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 1e-3}, "made with lr = 0.002, this run has lr = 0.001"),
        ({"seed": 1}, "made with seed = 0"),
        ({"training_steps": STEPS + 1}, f"n_steps = {STEPS}"),
        ({"k": 5}, "made with k = 6"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(make_runner, tmp_path, changed, message):
    make_runner(training_steps=STEPS, lr=2e-3, n_checkpoints=1, out=tmp_path).run()
    (tmp_path / "cfg.json").unlink()
    options = {"training_steps": STEPS, "lr": 2e-3, **changed}
    with pytest.raises(UserError, match=message):
        make_runner(**options, out=tmp_path, resume=True).run()


def test_resuming_what_is_finished_changes_nothing(make_runner, tmp_path):
    first = make_runner(out=tmp_path).run()
    (tmp_path / "evaluation.json").unlink()
    again = make_runner(out=tmp_path, resume=True).run()
    assert_same_weights(again.sae, first.sae)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == first.evaluation.to_dict()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"d_sae": 32}, "d_sae = 48, this run has d_sae = 32"),
        ({"k": 5}, "k = 6, this run has k = 5"),
        ({"architecture": "batchtopk"}, "architecture = topk"),
        ({"training_steps": 41}, "n_steps = 40"),
        ({"overwrite": True, "lr": 1e-3}, "lr = 0.003"),
    ],
)
def test_a_finished_sae_of_another_run_is_refused(make_runner, tmp_path, changed, message):
    make_runner(out=tmp_path).run()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=f"The SAE in {tmp_path} was trained with {message}"):
        make_runner(out=tmp_path, resume=True, **changed).run()
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_finished_sae_that_says_nothing_of_its_run_is_refused(make_runner, tmp_path, content):
    make_runner(out=tmp_path).run()
    (tmp_path / "runner_cfg.json").unlink()
    if content is not None:
        (tmp_path / "runner_cfg.json").write_text(content)
    with pytest.raises(UserError, match=r"does not say how it was trained.*--overwrite without"):
        make_runner(out=tmp_path, resume=True).run()


def test_resuming_without_a_checkpoint_starts(make_runner, tmp_path, caplog):
    result = make_runner(out=tmp_path, resume=True).run()
    assert_same_weights(result.sae, make_runner().run().sae)
    assert "No checkpoint in" in caplog.text


def test_failures_of_the_trainer_reach_the_caller(make_runner, monkeypatch):
    def failing(self):
        raise ValueError("broken batch")

    monkeypatch.setattr(interruption.StoppableBatches, "__next__", failing)
    with pytest.raises(ValueError, match="broken batch"):
        make_runner().run()


def test_runs_in_any_thread_and_touches_no_signal_handler(make_runner):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    results = []
    thread = threading.Thread(target=lambda: results.append(make_runner().run()))
    thread.start()
    thread.join()
    assert len(results) == 1
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


PROGRAM = """
import sys
import torch
torch.set_num_threads(1)
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.training.synthetic import synthetic_pairs
cfg = MultimodalSAERunnerConfig(
    d_sae=48, k=6, training_steps=int(sys.argv[1]), train_batch_size_samples=128,
    out="sae", resume=True,
)
acts_image, acts_text = synthetic_pairs()
print("ready", flush=True)
MultimodalSAETrainingRunner(cfg, acts_image=acts_image, acts_text=acts_text).run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_process_loses_nothing(tmp_path, pairs, number):
    steps = 200_000
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(steps)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Run the same again with resume=True (--resume)" in stderr
    saved = newest_checkpoint(tmp_path / "sae" / "checkpoints")
    assert saved is not None
    n_done = int(saved.name.removeprefix("interrupted_")) // 128
    assert 0 < n_done < steps
    # As far as it came, it is the run that was never interrupted.
    whole = _weights_after(n_done, steps, pairs)
    from safetensors.torch import load_file

    for name, weights in load_file(saved / "sae_weights.safetensors").items():
        assert torch.equal(weights, whole[name]), name


def _weights_after(n_done: int, steps: int, pairs) -> dict[str, torch.Tensor]:
    from sae_lens.training.sae_trainer import SAETrainer

    from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner

    cfg = MultimodalSAERunnerConfig(
        d_sae=48, k=6, training_steps=steps, train_batch_size_samples=128
    )
    runner = MultimodalSAETrainingRunner(cfg, acts_image=pairs[0], acts_text=pairs[1])
    trainer = SAETrainer(runner.trainer_config(), runner.sae, runner.data.provider(128, 0))
    for _ in range(n_done):
        trainer.step(next(trainer.data_provider))
        trainer.n_training_steps += 1
    return runner.sae.state_dict()
