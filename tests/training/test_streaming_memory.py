"""Memory of a training goes with its option, not with the store."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.activations.written import write_store
from tests.memory import memory_mib, reset_peak

D_IN, N_PER_SHARD = 128, 10_000
# Five and twenty times the option's memory.
N_SHARDS = (8, 32)
MAX_GB = 0.016
# A batch, the SAE with its optimiser, and evaluation in float64 a part at a time.
BESIDE_MIB = 96


def shard(n_pairs: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, n_pairs, D_IN, generator=generator)
    return images, texts, torch.arange(n_pairs)


def added_mib(folder: str, limit: float | None) -> float:
    """Peak of memory that training on a store takes."""
    torch.set_num_threads(1)
    cfg = MultimodalSAERunnerConfig(
        acts=Path(folder),
        d_sae=32,
        k=4,
        training_steps=80,
        train_batch_size_samples=1024,
        max_memory_gb=limit,
        normalize="per_modality_center_scale",
    )
    # So that libraries that are loaded on first use are there already.
    with TemporaryDirectory() as small:
        store = write_store(Path(small) / "store", [shard(N_PER_SHARD // 2, seed=0)])
        MultimodalSAETrainingRunner(replace(cfg, acts=None, max_memory_gb=0.003), store).run()
    reset_peak()
    before = memory_mib("VmRSS")
    MultimodalSAETrainingRunner(cfg).run()
    return memory_mib("VmHWM") - before


def measured(folder: Path, limit: float | None) -> float:
    # A process each: what the allocator keeps of one would hide what the other takes.
    code = f"from {__name__} import *; print(added_mib({str(folder)!r}, {limit}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def test_four_times_the_pairs_take_no_more_memory(tmp_path):
    peaks = []
    for n_shards in N_SHARDS:
        shards = (shard(N_PER_SHARD, seed) for seed in range(n_shards))
        write_store(tmp_path / str(n_shards), shards)
        peaks.append(measured(tmp_path / str(n_shards), MAX_GB))
    few, many = peaks
    limit_mib = MAX_GB * 1e9 / 2**20
    assert many < limit_mib + BESIDE_MIB, peaks
    # Allocators keep more of one run than of another, but nothing like what the store grew by.
    grown_mib = (N_SHARDS[1] - N_SHARDS[0]) * N_PER_SHARD * 2 * D_IN * 4 / 2**20
    assert many - few < 0.2 * grown_mib, peaks
