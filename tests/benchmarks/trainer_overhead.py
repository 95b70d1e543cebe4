"""Time our runner against a bare SAELens `SAETrainer` on the same tensors.

Run ``python -m tests.benchmarks.trainer_overhead``. The bare trainer gets batches that were cut
beforehand, so that everything the plugin adds (shuffling, gathering pairs, the trainer's thread,
stopping at step borders) counts as overhead. The two take turns, and CPU time is measured, or a
busy machine would measure its other work; beside it stands what the data provider costs alone.
"""

import argparse
import statistics
import time

import torch
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from mm_sae_plugin.training.interruption import StoppableBatches, run_interruptibly
from tests.training.synthetic import synthetic_pairs


def main() -> None:
    """Print the overhead in per cent of the bare trainer's time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--d-sae", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(1)
    acts = synthetic_pairs(20_000, 128, n_shared=120, n_private=60, n_active=10, noise=0.01)
    cfg = MultimodalSAERunnerConfig(
        d_sae=args.d_sae, training_steps=args.steps, train_batch_size_samples=args.batch_size
    )

    def runner() -> MultimodalSAETrainingRunner:
        return MultimodalSAETrainingRunner(cfg, acts_image=acts[0], acts_text=acts[1])

    # The very batches of the runner: others would have other dead latents, whose auxiliary loss
    # costs more than all that is measured here.
    cut = runner().data.provider(args.batch_size, seed=0)
    ready = [next(cut) for _ in range(args.steps)]
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for turn in range(args.rounds):
        # Whoever goes second finds other caches; so each goes second as often.
        for name in ("bare", "ours") if turn % 2 else ("ours", "bare"):
            seconds[name].append(_fit_bare(runner(), ready) if name == "bare" else _fit(runner()))
    # Neighbours on the machine only ever add time: the fastest round has the least of them.
    bare, ours = (1e3 * min(seconds[n]) / args.steps for n in ("bare", "ours"))
    provider = 1e3 * _provider_seconds(runner())
    print(f"bare SAETrainer     {bare:.3f} ms/step")
    print(f"our runner          {ours:.3f} ms/step, overhead {100 * (ours / bare - 1):+.2f} %")
    print(f"data provider alone {provider:.3f} ms/step, that is {100 * provider / bare:.2f} %")


def _fit_bare(runner: MultimodalSAETrainingRunner, ready: list[Tensor]) -> float:
    trainer = SAETrainer(runner.trainer_config(), runner.sae, iter(ready))
    start = time.process_time()
    trainer.fit()
    return time.process_time() - start


def _fit(runner: MultimodalSAETrainingRunner) -> float:
    batches = StoppableBatches(runner.data.provider(runner.cfg.train_batch_size_samples, seed=0))
    trainer = SAETrainer(runner.trainer_config(), runner.sae, batches)
    start = time.process_time()
    run_interruptibly(trainer.fit, batches.stop)
    return time.process_time() - start


def _provider_seconds(runner: MultimodalSAETrainingRunner, n_batches: int = 400) -> float:
    batches = runner.data.provider(runner.cfg.train_batch_size_samples, seed=0)
    # A training step leaves little of the activations in the caches.
    step = torch.randn(2_000_000)
    seconds = []
    for _ in range(n_batches):
        step.mul_(1.0)
        start = time.process_time()
        next(batches)
        seconds.append(time.process_time() - start)
    return statistics.mean(seconds)


if __name__ == "__main__":
    main()
