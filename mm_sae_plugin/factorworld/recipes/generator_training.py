"""The training loop of the generator's parts: averaged weights, checkpoints, and going on later."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mm_sae_plugin.factorworld.recipes.generator_data import batches
from mm_sae_plugin.files import atomic_path

LossOf = Callable[[nn.Module, np.ndarray, torch.Generator], dict[str, Float[Tensor, ""]]]
"""Maps a model, the rows of a batch and a source of chance to named losses, which are summed."""

_LOG_EVERY = 100
_WARM_UP = 200
_BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class StageConfig:
    """How one part of the generator is trained."""

    n_samples: int
    """Samples after which the training is done."""
    batch_size: int = 32
    """Samples a step."""
    lr: float = 1e-3
    """Learning rate after the warm-up, until it falls to zero along the last part of the steps."""
    fall_share: float = 0.25
    """Share of the steps over which the rate falls."""
    weight_decay: float = 0.01
    """Weight decay of the matrices."""
    ema: float = 0.9995
    """How slowly the averaged weights follow."""
    seed: int = 0
    """Seed of the weights, of the order of the batches and of the noise."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    bfloat16: bool = True
    """Run the model in bfloat16; off is faster on a processor that only emulates it."""

    @property
    def n_steps(self) -> int:
        """Number of optimizer steps."""
        return self.n_samples // self.batch_size


def train_stage(
    model: nn.Module, loss_of: LossOf, n_rows: int, cfg: StageConfig, checkpoint: Path
) -> nn.Module:
    """Train a model, or go on from its checkpoint; return it with its averaged weights.

    A longer ``n_samples`` than that of a finished checkpoint goes on from it.
    """
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = _optimizer(model, cfg)
    step, seconds = _restore(checkpoint, model, average, optimizer)
    order = batches(n_rows, cfg.batch_size, cfg.seed, first=step)
    started, recent = time.process_time(), []
    model.train()
    while step < cfg.n_steps:
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * _rate(step, cfg)
        chance = torch.Generator().manual_seed(cfg.seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16, cfg.bfloat16):
            losses = loss_of(model, next(order), chance)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        _follow(average, model, min(cfg.ema, step / (step + 10)))
        recent.append([loss.item() for loss in losses.values()])
        if step % _LOG_EVERY == 0:
            told = " ".join(
                f"{name} {value:.4f}"
                for name, value in zip(losses, np.mean(recent, axis=0), strict=True)
            )
            spent = time.process_time() - started
            each = 1e3 * spent / len(recent) / cfg.batch_size
            print(f"{checkpoint.stem} step {step} {told} {each:.2f} ms/sample", flush=True)
            seconds += spent
            started, recent = time.process_time(), []
        if step % cfg.checkpoint_every == 0 or step == cfg.n_steps:
            _save(checkpoint, model, average, optimizer, step, seconds)
    return average


def progress(checkpoint: Path) -> dict[str, int | float]:
    """Return how far a checkpoint's training came: steps and core-seconds."""
    state = torch.load(checkpoint, weights_only=True, mmap=True)
    return {"steps": state["step"], "seconds": round(state["seconds"])}


def averaged_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Return the averaged weights of a checkpoint, finished or not."""
    return torch.load(checkpoint, weights_only=True, mmap=True)["average"]


def _rate(step: int, cfg: StageConfig) -> float:
    left = (cfg.n_steps - step) / max(1, round(cfg.fall_share * cfg.n_steps))
    return min(1.0, (step + 1) / _WARM_UP, left)


def _optimizer(model: nn.Module, cfg: StageConfig) -> torch.optim.Optimizer:
    learned = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim >= 2], "weight_decay": cfg.weight_decay},
        {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=_BETAS, fused=True)


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    pairs = zip(average.parameters(), model.parameters(), strict=True)
    kept, now = zip(*[(a, p) for a, p in pairs if p.requires_grad], strict=True)
    torch._foreach_lerp_(list(kept), list(now), 1 - decay)  # pyright: ignore


def _save(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"model": model.state_dict(), "average": average.state_dict()}
    state |= {"optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _restore(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"{path.stem} goes on after step {state['step']}", flush=True)
    return state["step"], state["seconds"]
