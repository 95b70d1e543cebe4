"""Two nodes of Ray on this machine, of which one is lost: the same bits as one thread gives."""

import importlib.util
import json
import logging
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.cli import main
from mm_sae_plugin.engines import RayEngine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats import (
    EvaluationSums,
    ExampleRows,
    ModalityStatistics,
    Reading,
    passes,
    run_pass,
)
from mm_sae_plugin.stats.passes import PassTask
from tests.activations.pictures import noise_pairs, opened
from tests.activations.tiny import tiny_clip
from tests.engines.ray_tasks import Killing, Watched, fail, nodes_of
from tests.stats.fakes import FakeFeatureMap

ROOT = Path(__file__).parents[2]
NODE: dict[str, Any] = dict(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)
CFG = ExtractConfig(batch_size=4, shard_size=16, num_workers=0, max_skipped=1.0)

# Where a run deals the tests out by group, one process starts the cluster.
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each, at RAY_ADDRESS."""
    pytest.importorskip("ray")
    # Before Ray is imported and its processes inherit it: they import the tests' tasks.
    before = os.environ.copy()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *before.get("PYTHONPATH", "").split()])
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        os.environ["RAY_ADDRESS"] = cluster.address
        yield cluster
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ |= before


def assert_same_files(found: Path, expected: Path) -> None:
    assert {path.name for path in found.iterdir()} == {path.name for path in expected.iterdir()}
    for path in expected.iterdir():
        assert path.read_bytes() == (found / path.name).read_bytes(), path.name


@pytest.fixture
def connected(cluster) -> Iterator[None]:
    """A program that uses Ray for itself, too."""
    import ray  # pyright: ignore[reportMissingImports]

    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def bits(taken) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": tensor
        for name, accumulator in taken.items()
        for key, tensor in accumulator.state_dict().items()
    }


def assert_same_bits(found, expected) -> None:
    assert bits(found).keys() == bits(expected).keys()
    for name, tensor in bits(expected).items():
        assert torch.equal(tensor, bits(found)[name]), name


def reading(store) -> Reading:
    accumulators = {
        "modality": ModalityStatistics(24),
        "evaluation": EvaluationSums(),
        "examples": ExampleRows.of(store),
    }
    return Reading(FakeFeatureMap(12, 24), accumulators)


def test_ctrl_c_and_a_killed_worker_cost_the_shards_that_they_were_at(cluster, tmp_path):
    model, folder, log = tiny_clip(), tmp_path / "s", tmp_path / "log"
    source = noise_pairs(48, 2, missing=frozenset({47, *range(32, 40)}), log=str(log))
    alone = extract(model, source, tmp_path / "alone", CFG, progress=False)
    log.write_text("")

    def run(n_workers: int, *killing: Any) -> Any:
        killed = replace(source, opener=Killing(source.opener, *killing))
        return extract(model, killed, folder, CFG, False, engine=RayEngine(n_workers))

    with pytest.raises(KeyboardInterrupt, match=r"of 48 images are kept in .*; run the same"):
        run(1, 28, tmp_path / "interrupted", signal.SIGINT, os.getpid())
    notes = [json.loads(note.read_text()) for note in folder.glob("span-*.json")]
    n_done = json.loads((folder / "progress.json").read_text())["n_done"]
    whole = {*range(n_done)}.union(*(range(note["start"], note["stop"]) for note in notes))
    assert whole
    before = opened(log)
    store = run(2, 44, tmp_path / "killed")
    again = Counter(opened(log)[len(before) :])
    # Of the second run: one of them was at work on image 44, and its span was begun again.
    assert set(again) == {*range(48)} - whole
    assert {image for image, n in again.items() if n > 1} == {*range(40, 44)}
    assert store.manifest == alone.manifest and len(store.manifest.skipped) == 9
    assert_same_files(store.path, alone.path)


def test_commands_on_the_cluster_write_the_same_files(cluster, small_sae, tmp_path, monkeypatch):
    argv = ["extract", "--pairs", "factorworld:24", "--shard-size", "8", "--batch-size", "8"]
    for name, engine in (("alone", []), ("ray", ["--engine", "ray"])):
        main([*argv, "--out", str(tmp_path / name), *engine])
    assert_same_files(tmp_path / "ray", tmp_path / "alone")

    # Several parts of a small store.
    monkeypatch.setattr(passes, "_LEAST_PART", 100)
    for name, engine in (("a", []), ("r", ["--engine", "ray"])):
        sae = shutil.copytree(small_sae, tmp_path / name)
        main(["mds", "--sae", str(sae), "--acts", str(small_sae.parent / "acts"), *engine])
    assert_same_files(tmp_path / "r", tmp_path / "a")


def test_an_error_names_its_part_and_stops_the_run(cluster):
    with pytest.raises(UserError, match=r"^Part 4 of 4 failed: ZeroDivisionError: no such number$"):
        list(RayEngine(1).map(fail, range(4)))


def test_a_lost_worker_and_a_lost_node_cost_their_parts_only(cluster, connected, tmp_path):
    store: Any = extract(tiny_clip(), noise_pairs(120), tmp_path / "s", CFG, progress=False)
    (expected,) = run_pass(store, [reading(store)], part_size=10)
    log = tmp_path / "log"
    log.mkdir()
    parts = store.partitions(10)
    task = Watched(PassTask((reading(store),)), log, fatal_start=parts[1].start, n_nodes=2)
    (other,) = cluster.worker_nodes
    results = RayEngine(2).map(task, parts)
    (total,) = next(results)
    cluster.remove_node(other, allow_graceful=False)
    # A machine that is lost takes its workers with it.
    for process in nodes_of(log)[other.node_id]:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for (taken,) in results:
        for name, accumulator in taken.items():
            total[name].merge(accumulator)
    assert_same_bits(total, expected)
    tries = [file.name.split(".")[0] for file in log.iterdir()]
    assert {int(start) for start in tries} == {part.start for part in parts}
    assert tries.count(str(parts[1].start)) > 1
    assert len(nodes_of(log)) == 2


def test_without_ray_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'not installed: pip install "mm_sae_plugin\[ray\]"'):
        RayEngine(2)
    monkeypatch.undo()
    with pytest.raises(UserError, match="n_workers must be at least 1, not 0"):
        RayEngine(0)
