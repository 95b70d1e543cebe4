"""Feature-alignment fine-tuning: an image tower taught that attacks leave meanings as they are.

For every batch an inner attack moves images as far in a distance as it can within the budget; then
the tower is moved so that they, and the clean images (the *anchor*), lie where the tower as it was
put the clean ones. The text tower is left alone, so that all prompts keep their meaning.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.distances import Distance
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path

CHECKPOINT = "checkpoint.pt"
_LOG_EVERY = 50


@dataclass(frozen=True)
class AlignmentConfig:
    """How a tower is fine-tuned."""

    eps: float = 4 / 255
    """Budget of the inner attack, L∞, in pixels of [0, 1]."""
    n_steps: int = 300
    """Steps."""
    batch_size: int = 64
    """Images a step."""
    n_accumulated: int = 1
    """Parts that a batch is cut into, for towers that are too large for a whole one."""
    inner_steps: int = 3
    """Steps of the inner attack."""
    lr: float = 1e-3
    """Peak learning rate, after a warm-up; it falls to 0 along a cosine."""
    warm_up_steps: int = 50
    """Steps until the peak."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    anchor: float = 1.0
    """Weight of the clean images' own distance."""
    bf16: bool = True
    """Compute in bfloat16 where it is precise enough; weights stay as they are."""
    checkpoint_every: int = 100
    """Steps between checkpoints, from which an interrupted run goes on."""
    seed: int = 0
    """Of the order of images and of the inner attack's starts."""

    def __post_init__(self) -> None:
        Budget(self.eps)
        if self.batch_size % self.n_accumulated:
            raise UserError(
                f"A batch of {self.batch_size} cannot be cut into {self.n_accumulated} equal parts."
            )


def align(
    tower: nn.Module,
    inputs: Any,
    images: Float[Tensor, "n 3 h w"],
    distance: Distance,
    cfg: AlignmentConfig,
    out: Path | None = None,
    progress: bool = False,
) -> list[float]:
    """Fine-tune an image tower in place; returns the loss of every step.

    Parameters
    ----------
    tower : Module
        From inputs to joint vectors of any length.
    inputs : callable
        From pixels in [0, 1] to what the tower takes.
    images : float
        Clean images, pixels in [0, 1].
    distance : callable
        What is made small.
    cfg : AlignmentConfig
    out : Path, optional
        Folder of the checkpoint; a run of the same settings that was interrupted goes on from it.
    progress : bool
        Print the loss now and then.
    """
    before = copy.deepcopy(tower).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)
    losses = _restored(tower, optimizer, cfg, out)
    run = _Run(tower, before, inputs, distance, cfg)
    started, first = time.time(), len(losses)
    batches = batches_of(len(images), cfg.batch_size, cfg.seed)
    for step in range(cfg.n_steps):
        chosen = next(batches)
        if step < first:
            continue
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * _rate(step, cfg)
        optimizer.zero_grad()
        # Each step has its own stream, so that a resumed run draws the same.
        generator = torch.Generator().manual_seed(cfg.seed * 1_000_003 + step)
        parts = images[chosen].chunk(cfg.n_accumulated)
        losses.append(sum(run.backward(part, generator) for part in parts) / len(parts))
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        is_last = step + 1 == cfg.n_steps
        if progress and ((step + 1) % _LOG_EVERY == 0 or is_last):
            rate = (time.time() - started) / (step + 1 - first)
            print(f"step {step + 1} loss {losses[-1]:.4f} {rate:.2f} s/step", flush=True)
        if out is not None and ((step + 1) % cfg.checkpoint_every == 0 or is_last):
            _save(tower, optimizer, cfg, losses, out)
    return losses


def batches_of(n: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yield batches of indices, without end: a new order each time all were seen."""
    generator = torch.Generator().manual_seed(seed)
    size = min(size, n)
    while True:
        yield from torch.randperm(n, generator=generator)[: n - n % size].split(size)


class _Run:
    def __init__(
        self,
        tower: nn.Module,
        before: nn.Module,
        inputs: Any,
        distance: Distance,
        cfg: AlignmentConfig,
    ) -> None:
        self._tower, self._before, self._inputs = tower, before, inputs
        self._distance, self._cfg, self._budget = distance, cfg, Budget(cfg.eps)

    def backward(self, images: Tensor, generator: torch.Generator) -> float:
        """Add the gradient of one part of a batch; returns its loss."""
        cfg = self._cfg
        with torch.no_grad():
            clean = self._vectors(self._before, images)
        moved = self._attacked(images, clean, generator)
        loss = self._distance(self._vectors(self._tower, moved), clean).mean()
        if cfg.anchor:
            own = self._distance(self._vectors(self._tower, images), clean).mean()
            loss = loss + cfg.anchor * own
        (loss / cfg.n_accumulated).backward()
        return float(loss.detach())

    def _attacked(self, images: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
        """PGD on the distance. It stays on the tower's weights, whose own gradients it leaves."""
        cfg = self._cfg
        moved = self._budget.random(images, generator)
        for _ in range(cfg.inner_steps):
            moved.requires_grad_()
            away = self._distance(self._vectors(self._tower, moved), clean).sum()
            (gradient,) = torch.autograd.grad(away, moved)
            step = 2.5 * cfg.eps / cfg.inner_steps
            moved = self._budget.project(moved.detach() + step * gradient.sign(), images)
        return moved.detach()

    def _vectors(self, tower: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._cfg.bf16):
            rows = tower(self._inputs(images))
        return normalize(rows.float(), dim=1)


def _rate(step: int, cfg: AlignmentConfig) -> float:
    warm = min(1.0, (step + 1) / max(cfg.warm_up_steps, 1))
    return warm * 0.5 * (1 + cos(pi * step / cfg.n_steps))


def _save(
    tower: nn.Module,
    optimizer: torch.optim.Optimizer,
    cfg: AlignmentConfig,
    losses: list[float],
    out: Path,
) -> None:
    content = {
        "cfg": asdict(cfg),
        "tower": tower.state_dict(),
        "optimizer": optimizer.state_dict(),
        "losses": losses,
    }
    with atomic_path(out / CHECKPOINT) as temporary:
        torch.save(content, temporary)


def _restored(
    tower: nn.Module, optimizer: torch.optim.Optimizer, cfg: AlignmentConfig, out: Path | None
) -> list[float]:
    """Load a checkpoint of the same settings; returns the losses until then."""
    if out is None or not (out / CHECKPOINT).is_file():
        return []
    content = torch.load(out / CHECKPOINT, weights_only=True)
    if content["cfg"] != asdict(cfg):
        raise UserError(
            f"{out} holds a training with other settings: give another folder, or remove it."
        )
    tower.load_state_dict(content["tower"])
    optimizer.load_state_dict(content["optimizer"])
    return list(content["losses"])
