"""What the processes of the tests of training together run; each is called in all of them."""

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch.distributed as dist

from mm_sae_plugin.commands.train import TrainCommand
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.training.synthetic import synthetic_pairs

OPTIONS: dict[str, Any] = {
    "d_sae": 160,
    "k": 6,
    "training_steps": 40,
    "train_batch_size_samples": 64,
    # Short, so that many latents count as dead while it lasts.
    "dead_feature_window": 2,
}
# Not divisible by two, as evaluations share the rows.
N_PAIRS = 501


def make_runner(towers: str = "both", **options: Any) -> MultimodalSAETrainingRunner:
    """Return a runner for a short training on synthetic pairs, or on the images alone."""
    image, text = synthetic_pairs(n_pairs=N_PAIRS)
    cfg = MultimodalSAERunnerConfig(**{**OPTIONS, **options})
    return MultimodalSAETrainingRunner(
        cfg, acts_image=image, acts_text=text if towers == "both" else None
    )


def train(options: dict[str, Any]) -> dict[str, Any]:
    """Train, and return the evaluation."""
    return make_runner(**options).run().evaluation.to_dict()


def train_each(of_each: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Train one SAE after another, and return the evaluations."""
    return {name: train(options) for name, options in of_each.items()}


def train_with_own(options: dict[str, Any], of_rank_1: dict[str, Any]) -> dict[str, Any]:
    """Train, rank 1 with some options of its own."""
    return train({**options, **(of_rank_1 if dist.get_rank() == 1 else {})})


def train_until(options: dict[str, Any], step: int, happening: str) -> dict[str, Any]:
    """Train until something happens to rank 1 in the midst of a step."""
    runner = make_runner(**options)
    sae: Any = runner.sae
    n_steps, plain = 0, sae.mse_loss_fn

    def loss(*args: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        if n_steps == step:
            HAPPENINGS[happening]()
        return plain(*args)

    if dist.get_rank() == 1:
        sae.mse_loss_fn = loss
    return runner.run().evaluation.to_dict()


def train_until_interrupted_twice(step: int) -> None:
    """Train until rank 1 does not answer, and rank 0 is interrupted again and again."""
    runner = make_runner()
    sae: Any = runner.sae
    n_steps, plain = 0, sae.mse_loss_fn

    def loss(*args: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        if n_steps == step and dist.get_rank() == 1:
            time.sleep(600)
        if n_steps == step:
            for seconds in (1.0, 2.0):
                threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
        return plain(*args)

    sae.mse_loss_fn = loss
    runner.run()


def train_by_command(options: dict[str, Any]) -> tuple[str, str]:
    """Run the verb, and return what it printed to stdout and to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        TrainCommand(**{**OPTIONS, **options}).run()
    return out.getvalue(), err.getvalue()


def _fail() -> None:
    raise OSError("the cable is out")


HAPPENINGS: dict[str, Callable[[], None]] = {
    "terminated": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "interrupted": lambda: os.kill(os.getpid(), signal.SIGINT),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "failed": _fail,
    "silent": lambda: time.sleep(600),
}
