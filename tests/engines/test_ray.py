"""Two nodes of Ray on this machine, of which one is lost: the same bits as one thread gives."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.engines import RayEngine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats import EvaluationSums, ExampleRows, ModalityStatistics, Reading, run_pass
from mm_sae_plugin.stats.passes import PassTask
from tests.activations.pictures import noise_pairs
from tests.activations.tiny import tiny_clip
from tests.engines.ray_tasks import Watched, fail
from tests.stats.fakes import FakeFeatureMap

ROOT = Path(__file__).parents[2]
NODE: dict[str, Any] = dict(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)
CFG = ExtractConfig(batch_size=8, shard_size=16, num_workers=0, max_skipped=1.0)

# Where a run deals the tests out by group, one process starts the cluster.
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each, to which this process is connected."""
    pytest.importorskip("ray")
    # Before Ray is imported and its processes inherit it: they import the tests' tasks.
    before = os.environ.copy()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *before.get("PYTHONPATH", "").split()])
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    import ray  # pyright: ignore[reportMissingImports]
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ |= before


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


def test_a_lost_worker_and_a_lost_node_cost_their_parts_only(cluster, tmp_path):
    store: Any = extract(tiny_clip(), noise_pairs(120), tmp_path / "s", CFG, progress=False)
    (expected,) = run_pass(store, [reading(store)], part_size=10)
    log = tmp_path / "log"
    log.mkdir()
    parts = store.partitions(10)
    task = Watched(PassTask((reading(store),)), log, fatal_start=parts[1].start)
    (other,) = cluster.worker_nodes
    results = RayEngine(2).map(task, parts)
    (total,) = next(results)
    cluster.remove_node(other, allow_graceful=False)
    for (taken,) in results:
        for name, accumulator in taken.items():
            total[name].merge(accumulator)
    assert_same_bits(total, expected)
    tries = [file.name.split(".")[0] for file in log.iterdir()]
    assert {int(start) for start in tries} == {part.start for part in parts}
    assert tries.count(str(parts[1].start)) > 1
    assert len({file.read_text() for file in log.iterdir()}) == 2


def test_shards_are_the_same_files(cluster, tmp_path):
    source = noise_pairs(60, 2, missing=frozenset({2, *range(16, 24)}))
    alone = extract(tiny_clip(), source, tmp_path / "alone", CFG, progress=False)
    store = extract(tiny_clip(), source, tmp_path / "s", CFG, progress=False, engine=RayEngine(2))
    assert store.manifest == alone.manifest and len(store.manifest.shards) > 3
    assert {path.name for path in store.path.iterdir()} == {p.name for p in alone.path.iterdir()}
    for path in alone.path.iterdir():
        assert path.read_bytes() == (store.path / path.name).read_bytes(), path.name


def test_an_error_names_its_part_and_stops_the_run(cluster):
    with pytest.raises(UserError, match=r"^Part 4 of 4 failed: ZeroDivisionError: no such number$"):
        list(RayEngine(1).map(fail, range(4)))


def test_without_ray_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'not installed: pip install "mm_sae_plugin\[ray\]"'):
        RayEngine(2)
    monkeypatch.undo()
    with pytest.raises(UserError, match="n_workers must be at least 1, not 0"):
        RayEngine(0)
