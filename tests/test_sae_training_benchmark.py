"""The benchmark of SAE training in small: every field is there, and a missing peer is named."""

import json
import math
from typing import Any

import pytest
import torch

from mm_sae_plugin.errors import UserError
from tests.benchmarks import peers
from tests.benchmarks.sae_training import (
    BenchmarkConfig,
    main,
    run_benchmark,
    train_in_subprocess,
)
from tests.benchmarks.sae_training_data import Batches, synthetic_data
from tests.benchmarks.sae_training_figure import write_figure
from tests.benchmarks.sae_training_report import METRICS, print_table
from tests.benchmarks.sae_training_worker import Job, outcome

TINY: dict[str, Any] = {"steps": 3, "batch_size": 32, "d_sae": 64, "k": 4, "pairs": 40, "rows": 400}
PEERS = {"overcomplete": "overcomplete", "dictionary_learning": "dictionary_learning"}


def train_here(job: Job, timeout: float) -> dict[str, Any]:
    """Stand in for a fresh process, which would import SAELens anew each time."""
    return outcome(job)


@pytest.fixture(autouse=True)
def _threads():
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark")
    cfg = BenchmarkConfig(methods=("ours", "saelens"), threads=(1,), repeats=2, out=out, **TINY)
    return out, run_benchmark(cfg, train_here)


def test_results_have_every_field_with_finite_values(results):
    out, found = results
    saved = json.loads((out / "results.json").read_text())
    assert saved == json.loads(json.dumps(found))
    assert saved["failed"] == {}
    # Methods take turns at going first.
    assert [run["method"] for run in saved["runs"][:4]] == ["ours", "saelens", "saelens", "ours"]
    assert len(saved["runs"]) == 2 * 2 * 2
    for run in saved["runs"]:
        assert 0 <= run["dead_share"] <= 1 and run["explained_variance"] < 1
        assert run["peak_rss_mib"] >= run["rss_before_mib"] > 0
    for entry in saved["summary"]:
        paired = entry["dataset"] == "factorworld"
        assert entry["n_runs"] == 2
        assert len(entry["explained_variance_by_group"]) == (2 if paired else 1)
        for metric in (*METRICS, "speed_over_saelens"):
            if metric == "pairs_per_second" and not paired:
                assert entry[metric] is None
                continue
            spread = entry[metric]
            assert all(math.isfinite(value) for value in spread.values())
            assert spread["min"] <= spread["median"] <= spread["max"]
    pairs = next(e for e in saved["summary"] if e["dataset"] == "factorworld")
    assert 2 * pairs["pairs_per_second"]["median"] == pytest.approx(
        pairs["rows_per_second"]["median"]
    )


def test_ours_learns_what_saelens_learns(results):
    _, found = results
    explained = {
        (entry["dataset"], entry["method"]): entry["explained_variance"]["median"]
        for entry in found["summary"]
    }
    for dataset in ("factorworld", "synthetic"):
        assert explained[dataset, "ours"] == pytest.approx(explained[dataset, "saelens"], abs=0.01)


def test_figure_is_drawn(results, tmp_path):
    pytest.importorskip("matplotlib")
    assert "figure.png" in write_figure(results[1], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("method", PEERS)
def test_peer_is_trained_and_measured(method, tmp_path):
    pytest.importorskip(PEERS[method])
    cfg = BenchmarkConfig(
        methods=(method,), datasets=("synthetic",), threads=(1,), repeats=1, out=tmp_path, **TINY
    )
    found = run_benchmark(cfg, train_here)
    assert found["failed"] == {}
    (entry,) = found["summary"]
    assert entry["speed_over_saelens"] is None
    assert entry["l0"]["median"] <= TINY["k"]


def test_method_that_cannot_be_run_is_named_and_stops_no_other(tmp_path, monkeypatch, capsys):
    def train(recipe, batches):
        raise ModuleNotFoundError("No module named 'peer'")

    monkeypatch.setitem(peers.METHODS, "peer", peers.Method("Peer", "no-such-peer", train))
    cfg = BenchmarkConfig(
        methods=("peer", "saelens"),
        datasets=("synthetic",),
        threads=(1,),
        repeats=2,
        out=tmp_path,
        **TINY,
    )
    found = run_benchmark(cfg, train_here)
    assert found["failed"]["peer"].startswith("No module named 'peer'; pip install")
    assert found["methods"]["peer"]["version"] is None
    assert [run["method"] for run in found["runs"]] == ["saelens", "saelens"]
    print_table(found)
    assert "Peer was not run: No module named 'peer'" in capsys.readouterr().out


def test_reason_is_told_where_nothing_could_be_run(tmp_path, capsys):
    # SAELens' own sparse activations have no backward pass on the CPU.
    cfg = BenchmarkConfig(
        methods=("saelens_sparse",), datasets=("synthetic",), threads=(1,), out=tmp_path, **TINY
    )
    found = run_benchmark(cfg, train_here)
    assert found["runs"] == found["summary"] == []
    print_table(found)
    assert "SAELens topk, sparse was not run: NotImplementedError" in capsys.readouterr().out


def test_process_that_fails_says_why(tmp_path):
    recipe = peers.Recipe(8, 16, 2, 8, 2, 1e-3, 1000, 0)
    job = Job("no such method", recipe, 1, "", "", ("row",), str(tmp_path / "result.json"))
    assert "no such method" in train_in_subprocess(job, 120)["error"]


def test_batches_keep_pairs_together_and_repeat_by_seed():
    numbers = torch.arange(10.0)
    items = torch.stack((numbers, -numbers), dim=1)[..., None]
    batches = Batches(items, batch_size=8, n_steps=5, seed=3)
    found = torch.stack(list(batches))
    assert found.shape == (5, 8, 1) and len(batches) == 5
    assert torch.equal(found[:, :4], -found[:, 4:])
    # Every item is seen once before any is seen again.
    assert found[:, :4].flatten()[:10].sort().values.tolist() == numbers.tolist()
    assert torch.equal(found, torch.stack(list(batches)))


def test_synthetic_rows_have_unit_mean_square(tmp_path):
    facts = synthetic_data(tmp_path, 400)
    rows = torch.cat([torch.load(facts.train_file), torch.load(facts.held_out_file)])
    assert rows.shape == (400, 1, facts.d_in)
    assert float(rows.square().mean()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("ours", "theirs")}, "unknown: theirs"),
        ({"datasets": ()}, "at least"),
        ({"batch_size": 33}, "must be even"),
        ({"threads": (0,)}, "cores"),
        ({"repeats": 0}, "repeats must be at least 1"),
    ],
)
def test_wrong_input_is_told_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        BenchmarkConfig(**options)
    assert "\n" not in str(caught.value)


def test_command_line_exits_with_two_on_wrong_input(tmp_path, capsys):
    wrong = ["--k", "9", "--d-sae", "8"]
    with pytest.raises(SystemExit) as caught:
        main([*wrong, "--datasets", "synthetic", "--rows", "99", "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "k = 9 must not be above d_sae = 8.\n"
