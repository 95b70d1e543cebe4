"""Time our runner against a bare SAELens `SAETrainer` on the same tensors.

Run ``python -m tests.benchmarks.trainer_overhead``. The bare trainer gets batches that were cut
beforehand, so that everything the plugin adds (shuffling, gathering pairs, the trainer's thread,
stopping at step borders) counts as overhead. The two take turns step by step, or a busy machine
would measure its other work.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import torch
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from mm_sae_plugin.training.interruption import StoppableBatches, run_interruptibly
from tests.training.synthetic import synthetic_pairs


def main() -> None:
    """Print the overhead in per cent of the bare trainer's time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--d-sae", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--block", type=int, default=10, help="steps before the other's turn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    acts = synthetic_pairs(20_000, 128, n_shared=120, n_private=60, n_active=10, noise=0.01)
    cfg = MultimodalSAERunnerConfig(
        d_sae=args.d_sae,
        training_steps=args.steps,
        train_batch_size_samples=args.batch_size,
    )

    def runner() -> MultimodalSAETrainingRunner:
        return MultimodalSAETrainingRunner(cfg, acts_image=acts[0], acts_text=acts[1])

    ours, bare = runner(), runner()
    cut = ours.data.provider(args.batch_size, seed=1)
    ready = [next(cut) for _ in range(32)]
    bare_steps = _steps(bare, itertools.cycle(ready))
    our_steps = _steps(ours, StoppableBatches(ours.data.provider(args.batch_size, seed=0)))
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(args.steps // args.block):
        for name, steps in (("bare", bare_steps), ("ours", our_steps)):
            times[name].append(_timed(steps, args.block))
    median = {name: statistics.median(values) / args.block for name, values in times.items()}
    overhead = 100 * (median["ours"] / median["bare"] - 1)
    print(f"bare SAETrainer  {1e3 * median['bare']:.3f} ms/step (median CPU time)")
    print(f"with our data    {1e3 * median['ours']:.3f} ms/step")
    print(f"overhead by step {overhead:+.2f} %")
    _whole_runs(runner, ready)


def _steps(runner: MultimodalSAETrainingRunner, batches: Iterator[Tensor]) -> Iterator[None]:
    """Do what `SAETrainer.fit` does in a step, one step at a time."""
    trainer = SAETrainer(runner.trainer_config(), runner.sae, batches)
    while True:
        trainer.maybe_reset_sparsity()
        trainer.step(next(trainer.data_provider))
        trainer.n_training_steps += 1
        yield


def _timed(steps: Iterator[None], n: int) -> float:
    # CPU time: on a shared machine the wall clock measures the neighbours.
    start = time.process_time()
    for _ in range(n):
        next(steps)
    return time.process_time() - start


def _whole_runs(runner, ready: list[Tensor], n_rounds: int = 5) -> None:
    """Time both through `fit`, so that the runner's thread is in it too; the median of rounds."""
    bare_seconds, our_seconds = [], []
    for _ in range(n_rounds):
        bare = runner()
        trainer = SAETrainer(bare.trainer_config(), bare.sae, itertools.cycle(ready))
        start = time.process_time()
        trainer.fit()
        bare_seconds.append(time.process_time() - start)
        ours = runner()
        batches = StoppableBatches(ours.data.provider(ours.cfg.train_batch_size_samples, seed=0))
        trainer = SAETrainer(ours.trainer_config(), ours.sae, batches)
        start = time.process_time()
        run_interruptibly(trainer.fit, batches.stop)
        our_seconds.append(time.process_time() - start)
    bare_median, our_median = statistics.median(bare_seconds), statistics.median(our_seconds)
    print(f"whole fit        {bare_median:.2f} s bare, {our_median:.2f} s in the runner")
    print(f"overhead of fit  {100 * (our_median / bare_median - 1):+.2f} %")


if __name__ == "__main__":
    main()
