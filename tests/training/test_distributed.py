"""One SAE from several processes is the SAE of one, and none of them ever hangs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, TopKTrainingSAEConfig
from safetensors.torch import load_file

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.saes.global_batchtopk import among_largest
from mm_sae_plugin.saes.sparse.batchtopk import SparseBatchTopKTrainingSAEConfig
from mm_sae_plugin.saes.sparse.topk import SparseTopKTrainingSAEConfig
from mm_sae_plugin.training.checkpoints import newest_checkpoint
from mm_sae_plugin.training.distributed import Processes, process_group
from mm_sae_plugin.training.distributed_trainer import check_can_be_shared
from mm_sae_plugin.training.place import sole_training_of
from tests.activations.pictures import noise_pairs
from tests.activations.tiny import tiny_clip
from tests.training.jobs import (
    make_runner,
    train,
    train_by_command,
    train_each,
    train_until,
    train_until_interrupted_twice,
    train_with_own,
)
from tests.training.together import run_together

_WIDTHS: dict[str, Any] = {"d_in": 32, "d_sae": 160}
RUNS: dict[str, dict[str, Any]] = {
    **{
        name: {"architecture": name}
        for name in (
            *("topk", "abstopk", "batchtopk", "matryoshka_batchtopk", "standard", "gated"),
            *("jumprelu", "matching_pursuit", "aligned_topk", "group_topk"),
        )
    },
    "sparse_topk": {"sae": SparseTopKTrainingSAEConfig(**_WIDTHS, k=6, sparse_kernels=True)},
    "sparse_batchtopk": {
        "sae": SparseBatchTopKTrainingSAEConfig(**_WIDTHS, k=6, sparse_kernels=True)
    },
    "one tower": {"towers": "image"},
    "normalised": {"normalize": "per_modality_center_scale"},
    "scaled by SAELens": {
        "sae": TopKTrainingSAEConfig(
            **_WIDTHS, k=6, normalize_activations="expected_average_only_in"
        )
    },
    "with checkpoints": {"architecture": "batchtopk", "n_checkpoints": 2},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Folders of SAEs trained by two processes, and for those to be trained by one."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    both = run_together(train_each, {name: {**o, "out": two / name} for name, o in RUNS.items()})
    first, second = both
    assert first is not None and second is not None, both
    assert (first.error, second.error) == ("", ""), both
    assert first.returned == second.returned
    return one, two


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "sae"
    make_runner(architecture="batchtopk", out=folder).run()
    return folder


def check_same_sae(folder: Path, other: Path, filename: str = "sae_weights.safetensors") -> None:
    ours, theirs = load_file(folder / filename), load_file(other / filename)
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], rtol=0, atol=1e-5, msg=name)


def metadata(folder: Path) -> dict[str, Any]:
    return parse_json((folder / "cfg.json").read_text())["metadata"]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_the_sae_of_one(folders, name):
    alone, together = folders[0] / name, folders[1] / name
    evaluation = make_runner(**RUNS[name], out=alone).run().evaluation
    check_same_sae(alone, together)
    check_same_sae(alone, together, "sparsity.safetensors")
    for figure in ("num_dead_features", "l0"):
        assert metadata(together)[figure] == pytest.approx(metadata(alone)[figure])
    saved = parse_json((together / "evaluation.json").read_text())
    assert saved["n_rows"] == evaluation.n_rows
    assert saved["l0"] == pytest.approx(evaluation.l0, abs=1e-2)
    assert saved["explained_variance"] == pytest.approx(evaluation.explained_variance, abs=1e-4)


def test_latents_died_and_were_worked_upon(folders):
    assert metadata(folders[1] / "topk")["num_dead_features"] > 0


def test_a_checkpoint_counts_every_row(folders):
    alone, together = (folder / "with checkpoints" / "checkpoints" for folder in folders)
    if not alone.is_dir():
        make_runner(**RUNS["with checkpoints"], out=alone.parent).run()
    names = sorted(path.name for path in alone.iterdir())
    assert sorted(path.name for path in together.iterdir()) == names and len(names) == 2
    for name in names:
        check_same_sae(alone / name, together / name)
        ours, theirs = (
            torch.load(folder / name / "trainer_state.pt") for folder in (alone, together)
        )
        for count in ("n_training_samples", "n_training_steps", "n_frac_active_samples"):
            assert ours[count] == theirs[count]
        for count in ("act_freq_scores", "n_forward_passes_since_fired"):
            assert torch.equal(ours[count], theirs[count])


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_of_all_are_those_of_the_whole(seed):
    generator = torch.Generator().manual_seed(seed)
    # Few different values, so that many are equal at the cut.
    values = torch.randint(0, 6, (3, 20), generator=generator).float()
    everyones = values.sort(dim=1, descending=True).values
    n_kept = 17
    kept = [everyones[rank][among_largest(everyones, rank, n_kept)] for rank in range(3)]
    expected = values.flatten().topk(n_kept).values
    assert torch.equal(torch.cat(kept).sort(descending=True).values, expected)


INTERRUPTED = "Interrupted at step 10 of 40; saved {}"
STOPPED = "Stopped at step 9 of 40; saved {}"


@pytest.mark.parametrize(
    ("happening", "errors", "sentence"),
    [
        ("terminated", ("Terminated", "Terminated"), INTERRUPTED),
        ("interrupted", ("Terminated", "KeyboardInterrupt"), INTERRUPTED),
        ("killed", ("LostProcess", None), "ended without a word, as if it had been killed"),
        ("failed", ("LostProcess", "OSError"), "Rank 1 of 2 has ended: OSError: the cable is out"),
        ("silent", ("LostProcess",), "does not answer"),
    ],
)
def test_who_is_left_says_so_and_saves(tmp_path, uninterrupted, happening, errors, sentence):
    options = {"architecture": "batchtopk", "out": tmp_path / "sae"}
    # Who is silent goes on being silent.
    timeout = 15 if happening == "silent" else 60
    outcomes = run_together(
        train_until, options, 10, happening, timeout=timeout, awaited=len(errors)
    )
    first = outcomes[0]
    assert tuple(outcome and outcome.error for outcome in outcomes) == errors, outcomes
    checkpoint = newest_checkpoint(tmp_path / "sae" / "checkpoints")
    assert first is not None and sentence.format(checkpoint) in first.message
    if errors[0] == "LostProcess":
        assert STOPPED.format(checkpoint) in first.message
    # One process goes on where two had come to.
    make_runner(**options, resume=True).run()
    check_same_sae(tmp_path / "sae", uninterrupted)


def test_who_is_interrupted_twice_does_not_wait_for_others():
    (first,) = run_together(train_until_interrupted_twice, 5, timeout=900, awaited=1)
    assert first is not None and first.error == "InterruptedTwice"


def test_two_processes_resume(tmp_path, uninterrupted):
    options = {"architecture": "batchtopk", "out": tmp_path / "sae"}
    run_together(train_until, options, 10, "terminated")
    outcomes = run_together(train, {**options, "resume": True})
    assert [outcome and outcome.error for outcome in outcomes] == ["", ""], outcomes
    check_same_sae(tmp_path / "sae", uninterrupted)
    assert not (tmp_path / "sae" / "checkpoints").exists()


def test_what_holds_for_one_is_said_by_the_other(tmp_path):
    with sole_training_of([tmp_path / "sae"]):
        first, second = run_together(train, {"out": tmp_path / "sae"})
    assert first is not None and first.error == "UserError"
    assert "Another training is writing" in first.message
    assert second is not None and second.error == "LostProcess"
    assert f"Rank 0 of 2 has ended: {first.message}" in second.message


@pytest.mark.parametrize(
    ("of_rank_1", "sentence"),
    [
        ({"lr": 0.1}, "lr is 0.003 for rank 0 and 0.1 for rank 1"),
        ({"training_steps": 41}, "n_steps is 40 for rank 0 and 41 for rank 1"),
    ],
)
def test_processes_that_disagree_do_not_begin(tmp_path, of_rank_1, sentence):
    outcomes = run_together(train_with_own, {"out": tmp_path / "sae"}, of_rank_1)
    for outcome in outcomes:
        assert outcome is not None and outcome.error == "UserError"
        assert sentence in outcome.message
    assert not (tmp_path / "sae").exists()


def test_a_training_that_diverges_ends_for_all_alike():
    outcomes = run_together(train, {"lr": 1e10, "lr_warm_up_steps": 0})
    assert outcomes[0] is not None and "The training has diverged" in outcomes[0].message
    assert [outcome and outcome.message for outcome in outcomes] == [outcomes[0].message] * 2


def test_batches_that_have_no_equal_parts_are_refused():
    sae = make_runner().sae
    check_can_be_shared(sae, 12, True, Processes(0, 3))
    with pytest.raises(UserError, match=r"64 rows .* 3 processes: each takes its pairs, .* of 6"):
        check_can_be_shared(sae, 64, True, Processes(0, 3))
    with pytest.raises(UserError, match=r"each takes its rows, .* multiple of 3"):
        check_can_be_shared(sae, 64, False, Processes(0, 3))


def test_an_architecture_that_nothing_is_known_of_is_refused():
    class Own(BatchTopKTrainingSAE):
        pass

    sae = Own(BatchTopKTrainingSAEConfig(**_WIDTHS, k=6))
    with pytest.raises(UserError, match="'batchtopk' cannot be trained by several processes"):
        check_can_be_shared(sae, 64, True, Processes(0, 2))


def test_parts_cover_everything_once():
    for n_items in (0, 1, 7, 12):
        items = list(range(n_items))
        parts = [items[Processes(rank, 3).part(n_items)] for rank in range(3)]
        assert [item for part in parts for item in part] == items
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("device", "sentence"),
    [("cuda:1", "would share the device 'cuda:1'"), ("cuda", "has no GPU of its own")],
)
def test_processes_without_a_device_of_their_own_are_refused(monkeypatch, device, sentence):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=sentence), process_group(device):
        pass


def test_processes_that_do_not_find_each_other_say_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="have not found each other"), process_group():
        pass


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "store"
    cfg = ExtractConfig(batch_size=16, shard_size=40, num_workers=0)
    extract(tiny_clip(), noise_pairs(60, captions_each=2), path, cfg, progress=False)
    return path


def test_the_first_alone_prints(tmp_path, store):
    options = {"acts": store, "out": tmp_path / "sae", "d_sae": 24, "k": 4}
    first, second = run_together(train_by_command, options)
    assert first is not None and second is not None, (first, second)
    printed, bar = first.returned
    assert f"The SAE is in {tmp_path / 'sae'}" in printed and "Training SAE" in bar
    assert second.returned == ("", "")


def test_torchrun_that_is_terminated_says_so_once(tmp_path, store):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "mm_sae_plugin.cli", "train", f"--acts={store}", f"--out={tmp_path / 'sae'}"]
    command += ["--d-sae=24", "--k=4", "--training-steps=1000000", "--process-timeout=60"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ)
        try:
            until = time.monotonic() + 200
            # The bar's description changes with the first hundred steps.
            while "| mse_loss" not in log.read_text() and time.monotonic() < until:
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()
            process.wait()
    said = log.read_text()
    assert said.count("mm-sae: ") == 1, said
    checkpoint = newest_checkpoint(tmp_path / "sae" / "checkpoints")
    assert checkpoint is not None and f"saved {checkpoint}" in said
