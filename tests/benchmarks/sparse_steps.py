"""Time sparse training steps against stock SAELens, over sizes, k and threads.

Run ``python -m tests.benchmarks.sparse_steps --out FOLDER``. What is timed is
``SAETrainer.step`` of the unmodified trainer, with its bookkeeping, gradient clipping and Adam, on
random activations. In each round every method takes a step in turn, the order rotating, so that
all of them meet the same other work on the machine; ratios are medians of the ratios within
rounds. Beside them stands the encoder's product alone, which no exact method can do without: as
SAELens writes it, ``x @ W_enc`` into new memory, and into memory that is there. Peak memory, above
what the process has before its first step, comes from a process of its own for each method.

With ``--dead-share 0.1`` a tenth of the latents never fires, so that the auxiliary loss takes part.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sae_lens import LoggingConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.training import use_fused_adam
from tests.memory import memory_mib, reset_peak
from tests.saes.sparse.pairs import SPARSE, STOCK

# d_in, d_sae, batch size.
SIZES = ((128, 256, 512), (128, 2048, 2048), (512, 8192, 4096), (768, 24576, 1024))
KS = (8, 32, 128)
METHODS = ("stock", "sparse", "sparse, fused Adam")
PRODUCTS = ("product", "product, memory reused")


@dataclass(frozen=True)
class Case:
    """What is trained."""

    architecture: str
    """topk or batchtopk."""
    d_in: int
    """Width of a row."""
    d_sae: int
    """Latents."""
    batch_size: int
    """Rows of a batch."""
    k: int
    """Active latents per row."""
    dead_share: float
    """Share of the latents that never fire."""


def main() -> None:
    """Measure, print the table and write ``sparse_steps.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=("topk", "batchtopk"), default="topk")
    parser.add_argument("--sizes", nargs="+", type=_size, default=list(SIZES))
    parser.add_argument("--k", nargs="+", type=int, default=list(KS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--dead-share", type=float, default=0.0, help="of latents, from the start")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("sparse_steps"))
    parser.add_argument("--peak-memory-of", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not 0 <= args.dead_share < 1:
        parser.error(f"--dead-share must be at least 0 and below 1; got {args.dead_share}.")
    if min(args.rounds, *args.threads, *args.k, *(n for size in args.sizes for n in size)) < 1:
        parser.error("--rounds, --threads, --k and --sizes must be at least 1.")
    if max(args.k) > min(d_sae for _, d_sae, _ in args.sizes):
        parser.error(f"--k {max(args.k)} is more than the latents of the smallest size.")
    cases = [
        Case(args.architecture, *size, k=k, dead_share=args.dead_share)
        for size in args.sizes
        for k in args.k
    ]
    if args.peak_memory_of:
        print(_peak_mib(cases[0], args.peak_memory_of))
        return
    rows = []
    for case in cases:
        peaks = {method: _peak_in_own_process(case, method) for method in METHODS[:2]}
        for n_threads in args.threads:
            rows.append({**_measure(case, n_threads, args.rounds), "peak_mib": peaks})
            write_json_atomically(args.out / "sparse_steps.json", {"rows": rows})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    Console(width=140).print(_table(rows))


def _size(text: str) -> tuple[int, int, int]:
    d_in, d_sae, batch_size = map(int, text.split("x"))
    return d_in, d_sae, batch_size


def _trainer(case: Case, method: str) -> SAETrainer:
    sae_class, config_class = (STOCK if method == "stock" else SPARSE)[case.architecture]
    options = {} if method == "stock" else {"sparse_kernels": True}
    torch.manual_seed(0)
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=10**9,
            train_batch_size_samples=case.batch_size,
            lr=1e-3,
            lr_end=1e-4,
            lr_scheduler_name="constant",
            lr_warm_up_steps=0,
            lr_decay_steps=0,
            adam_beta1=0.9,
            adam_beta2=0.999,
            device="cpu",
            autocast=False,
            # No latent dies within so few steps; those of dead_share are dead from the start.
            dead_feature_window=1000,
            feature_sampling_window=1000,
            n_checkpoints=0,
            checkpoint_path=None,
            save_final_checkpoint=False,
            n_batches_for_norm_estimate=1,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae=sae_class(config_class(d_in=case.d_in, d_sae=case.d_sae, k=case.k, **options)),
        data_provider=_batches(case.d_in, case.batch_size),
    )
    n_dead = round(case.dead_share * case.d_sae)
    # Ten standard deviations below where pre-activations start: these latents never fire.
    trainer.sae.b_enc.data[:n_dead] = -1.0
    trainer.n_forward_passes_since_fired[:n_dead] = 10**6
    if method == "sparse, fused Adam":
        use_fused_adam(trainer)
    return trainer


def _batches(d_in: int, batch_size: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    ready = torch.randn(4, batch_size, d_in, generator=generator)
    while True:
        yield from ready


def _measure(case: Case, n_threads: int, n_rounds: int) -> dict[str, Any]:
    torch.set_num_threads(n_threads)
    trainers = {method: _trainer(case, method) for method in METHODS}
    x = torch.randn(case.batch_size, case.d_in)
    reused = torch.empty(case.batch_size, case.d_sae)
    sae: Any = trainers["sparse"].sae
    W_enc = sae.W_enc.detach().clone()
    names = (*METHODS, *PRODUCTS)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(n_rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            if name in PRODUCTS:
                torch.mm(x, W_enc, out=reused if name == "product, memory reused" else None)
            else:
                trainers[name].step(next(trainers[name].data_provider))
                trainers[name].n_training_steps += 1
            seconds[name].append(time.perf_counter() - start)
    # The first round allocates.
    seconds = {name: values[1:] for name, values in seconds.items()}

    def ratios(over: str, under: str) -> list[float]:
        pairs = zip(seconds[over], seconds[under], strict=True)
        return sorted(a / b for a, b in pairs)

    return {
        **asdict(case),
        "threads": n_threads,
        "rounds": n_rounds,
        "ms": {name: 1e3 * statistics.median(values) for name, values in seconds.items()},
        "ms_fastest": {name: 1e3 * min(values) for name, values in seconds.items()},
        "times_stock": {name: ratios("stock", name) for name in METHODS[1:]},
        "times_product": {
            product: {name: ratios(name, product) for name in METHODS} for product in PRODUCTS
        },
        "chosen": "sparse" if sae.sparse_is_faster(case.batch_size) else "dense",
    }


def _peak_mib(case: Case, method: str) -> float:
    """Return by how much three steps raise the memory of this process at their peak (Linux)."""
    torch.set_num_threads(1)
    # What a first step loads of the libraries is no memory of a training.
    small = _trainer(replace(case, d_in=8, d_sae=32, batch_size=8, k=2), method)
    small.step(next(small.data_provider))
    trainer = _trainer(case, method)
    # What imports took and gave back does not matter.
    reset_peak()
    before = memory_mib("VmRSS")
    for _ in range(3):
        trainer.step(next(trainer.data_provider))
    return memory_mib("VmHWM") - before


def _peak_in_own_process(case: Case, method: str) -> float:
    size = f"{case.d_in}x{case.d_sae}x{case.batch_size}"
    options = ["--architecture", case.architecture, "--sizes", size, "--k", str(case.k)]
    options += ["--dead-share", str(case.dead_share), "--peak-memory-of", method]
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.sparse_steps", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _table(rows: list[dict[str, Any]]) -> Table:
    what = (
        f"One {rows[0]['architecture']} training step, {rows[0]['dead_share']:.0%} of latents dead"
    )
    table = Table(title=f"{what}: medians of interleaved rounds (lowest to highest)")
    for heading in (
        *("d_in", "d_sae", "batch", "k", "threads", "stock ms", "sparse ms", "times as fast"),
        *("with fused Adam", "encoder products", "memory reused", "peak MiB", "chosen"),
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        faster = row["times_stock"]
        table.add_row(
            *(str(row[n]) for n in ("d_in", "d_sae", "batch_size", "k", "threads")),
            *(f"{row['ms'][name]:,.0f}" for name in METHODS[:2]),
            *(_spread(faster[name]) for name in METHODS[1:]),
            *(_products(row["times_product"][product]) for product in PRODUCTS),
            " : ".join(f"{peak:,.0f}" for peak in row["peak_mib"].values()),
            row["chosen"],
        )
    return table


def _products(ratios: dict[str, list[float]]) -> str:
    return " / ".join(f"{statistics.median(ratios[name]):.2f}" for name in METHODS[1:])


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}–{ratios[-1]:.1f})"


if __name__ == "__main__":
    main()
