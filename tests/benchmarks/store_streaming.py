"""Training from a store on disk against the same training in memory: throughput and peak memory.

Run ``python -m tests.benchmarks.store_streaming --out FOLDER``. In each round both take the same
number of steps in turn, the order changing, so that they meet the same other work on the machine;
ratios are medians of the ratios within rounds. Before a streamed turn Linux is told to forget what
it has read of the store (``cold``), or not (``warm``: the store is in the system's cache). CPU time
counts the reading thread as well. Peak memory, above what the process has before it opens the
store, comes from a process of its own for each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.activations.written import write_store
from tests.memory import memory_mib, reset_peak

WAYS = ("memory", "warm", "cold")
_N_PER_SHARD = 20_000


def main() -> None:
    """Measure, write ``store_streaming.json`` and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("store_streaming"))
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--d-in", type=int, default=256)
    parser.add_argument("--d-sae", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-memory-gb", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of is not None:
        print(json.dumps(_peak_mib(args)))
        return
    with TemporaryDirectory(dir=args.out.parent) as folder:
        args.store = Path(folder) / "store"
        write_store(args.store, _shards(args.pairs, args.d_in))
        rounds = _rounds(args)
        peaks = {way: _peak_in_a_process(args, way) for way in WAYS[:2]}
        n_bytes = sum(path.stat().st_size for path in args.store.iterdir())
    settings = {name: v for name, v in vars(args).items() if isinstance(v, int | float)}
    result = {
        "settings": settings,
        "store_mib": n_bytes / 2**20,
        "ms_per_step": {w: _median_of(rounds, "wall", w) for w in WAYS},
        "cpu_ms_per_step": {w: _median_of(rounds, "cpu", w) for w in WAYS},
        "ms_per_batch_of_provider_alone": {w: _median_of(rounds, "alone", w) for w in WAYS},
        "throughput_against_memory": {w: _ratio(rounds, "wall", w) for w in WAYS},
        "cpu_against_memory": {w: 1 / _ratio(rounds, "cpu", w) for w in WAYS},
        "peak_mib": peaks,
        "rounds": rounds,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json_atomically(args.out / "store_streaming.json", result)
    _print(result)


def _shards(n_pairs: int, d_in: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for start in range(0, n_pairs, _N_PER_SHARD):
        n = min(_N_PER_SHARD, n_pairs - start)
        images, texts = torch.randn(2, n, d_in, generator=generator)
        yield images, texts, torch.arange(n)


def _config(args: argparse.Namespace, way: str) -> MultimodalSAERunnerConfig:
    return MultimodalSAERunnerConfig(
        d_sae=args.d_sae,
        k=32,
        architecture="sparse_topk",
        training_steps=args.steps,
        train_batch_size_samples=args.batch_size,
        max_memory_gb=1e6 if way == "memory" else args.max_memory_gb,
    )


def _rounds(args: argparse.Namespace) -> list[dict[str, dict[str, float]]]:
    store = ActivationStore.open(args.store, verify=False)
    runners = {way: MultimodalSAETrainingRunner(_config(args, way), store) for way in WAYS}
    assert runners["memory"].data.streamed is None and runners["cold"].data.streamed is not None
    rounds = []
    for turn in range(args.rounds + 1):
        order = [WAYS[(turn + i) % len(WAYS)] for i in range(len(WAYS))]
        taken = {way: _turn(args, runners[way], way, seed=turn) for way in order}
        # What is done for the first time takes longer.
        if turn:
            rounds.append(taken)
    return rounds


def _turn(
    args: argparse.Namespace, runner: MultimodalSAETrainingRunner, way: str, seed: int
) -> dict[str, float]:
    if way == "cold":
        _forget(args.store)
    provider = runner.data.provider(args.batch_size, seed)
    # The first chunk is waited for once in a training, not once in so few steps.
    next(provider)
    trainer = SAETrainer(runner.trainer_config(), runner.build_sae(seed), provider)
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.fit()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if way == "cold":
        _forget(args.store)
    start = time.perf_counter()
    for _ in range(args.steps):
        next(provider)
    alone = time.perf_counter() - start
    provider.close()
    return {n: 1e3 * s / args.steps for n, s in (("wall", wall), ("cpu", cpu), ("alone", alone))}


def _forget(store: Path) -> None:
    for path in store.glob("*.safetensors"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def _peak_in_a_process(args: argparse.Namespace, way: str) -> float:
    names = ("pairs", "d_in", "d_sae", "batch_size", "steps", "max_memory_gb", "threads", "store")
    options = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in names]
    command = [sys.executable, "-m", "tests.benchmarks.store_streaming", f"--peak-of={way}"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return float(json.loads(run.stdout))


def _peak_mib(args: argparse.Namespace) -> float:
    reset_peak()
    before = memory_mib("VmRSS")
    store = ActivationStore.open(args.store, verify=False)
    MultimodalSAETrainingRunner(_config(args, args.peak_of), store).run()
    return memory_mib("VmHWM") - before


def _median_of(rounds: list[dict[str, dict[str, float]]], what: str, way: str) -> float:
    return statistics.median(taken[way][what] for taken in rounds)


def _ratio(rounds: list[dict[str, dict[str, float]]], what: str, way: str) -> float:
    return statistics.median(taken["memory"][what] / taken[way][what] for taken in rounds)


def _print(result: dict[str, Any]) -> None:
    settings = ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    table = Table(title=f"A store of {result['store_mib']:.0f} MiB ({settings})")
    headings = ("", "ms/step", "throughput", "CPU ms/step", "CPU", "provider ms", "peak MiB")
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right")
    for way in WAYS:
        peak = result["peak_mib"].get(way)
        table.add_row(
            way if way == "memory" else f"streamed, {way}",
            f"{result['ms_per_step'][way]:.2f}",
            f"{100 * result['throughput_against_memory'][way]:.1f} %",
            f"{result['cpu_ms_per_step'][way]:.2f}",
            f"{100 * result['cpu_against_memory'][way]:.1f} %",
            f"{result['ms_per_batch_of_provider_alone'][way]:.2f}",
            "" if peak is None else f"{peak:.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
