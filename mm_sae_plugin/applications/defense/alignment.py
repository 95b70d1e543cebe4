"""Feature-alignment fine-tuning: an image tower taught that attacks leave meanings as they are.

For every batch an inner attack moves images as far in a distance as it can within the budget; then
the tower is moved so that they, and the clean images (the *anchor*), lie where the tower as it was
put the clean ones, or where their labels say. The text tower is left alone, so that all prompts
keep their meaning. Distances are measured in units of what the inner attack does to the tower as it
was, so that one learning rate and one anchor serve them all.
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
from jaxtyping import Float, UInt8
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
    n_scale_batches: int = 8
    """Batches over which a distance's unit is averaged; that of one varied by a factor of 2."""
    bf16: bool = False
    """Compute in bfloat16 where it is precise enough; weights stay as they are. Twice as fast where
    the processor has it, and ten times slower where it has not."""
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
    images: Float[Tensor, "n 3 h w"] | UInt8[Tensor, "n 3 h w"],
    distance: Distance,
    cfg: AlignmentConfig,
    out: Path | None = None,
    targets: Tensor | None = None,
    progress: bool = False,
) -> list[float]:
    """Fine-tune an image tower in place; returns the loss of every step.

    Parameters
    ----------
    tower : Module
        From inputs to joint vectors of any length; its parameters that take gradients are moved.
    inputs : callable
        From pixels in [0, 1] to what the tower takes.
    images : float or uint8
        Clean images, pixels in [0, 1] or 0 to 255.
    distance : callable
        What is made small.
    cfg : AlignmentConfig
    out : Path, optional
        Folder of the checkpoint; a run of the same settings that was interrupted goes on from it.
    targets : tensor, optional
        What each image is pulled to, one row an image, as the distance takes it; by default the
        unit-length vector that the tower as it was gives the clean image.
    progress : bool
        Print the loss now and then.
    """
    moving = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    before = copy.deepcopy(tower).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(moving, lr=cfg.lr, weight_decay=cfg.weight_decay)
    run = _Run(tower, before, inputs, distance, cfg)
    run.unit = _unit_of(run, images, targets, cfg)
    losses = _restored(tower, optimizer, cfg, out)
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
        parts = chosen.chunk(cfg.n_accumulated)
        losses.append(
            sum(
                run.backward(_pixels(images, part), _rows(targets, part), generator)
                for part in parts
            )
            / len(parts)
        )
        nn.utils.clip_grad_norm_(moving, 1.0)
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
        self.unit = 1.0

    def backward(self, images: Tensor, targets: Tensor | None, generator: torch.Generator) -> float:
        """Add the gradient of one part of a batch; returns its loss."""
        cfg = self._cfg
        targets = self._targets(images, targets)
        moved = self._attacked(images, targets, generator)
        loss = self._distance(self._vectors(self._tower, moved), targets).mean()
        if cfg.anchor:
            own = self._distance(self._vectors(self._tower, images), targets).mean()
            loss = loss + cfg.anchor * own
        loss = loss / self.unit
        (loss / cfg.n_accumulated).backward()
        return float(loss.detach())

    @torch.no_grad()
    def attacked_distance(
        self, images: Tensor, targets: Tensor | None, generator: torch.Generator
    ) -> float:
        """Return how far the inner attack moves the tower's vectors."""
        targets = self._targets(images, targets)
        moved = self._attacked(images, targets, generator)
        return float(self._distance(self._vectors(self._tower, moved), targets).mean())

    @torch.no_grad()
    def _targets(self, images: Tensor, targets: Tensor | None) -> Tensor:
        return self._vectors(self._before, images) if targets is None else targets

    @torch.enable_grad()
    def _attacked(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """PGD on the distance. It stays on the tower's weights, whose own gradients it leaves."""
        cfg = self._cfg
        moved = self._budget.random(images, generator)
        for _ in range(cfg.inner_steps):
            moved.requires_grad_()
            away = self._distance(self._vectors(self._tower, moved), targets).sum()
            (gradient,) = torch.autograd.grad(away, moved)
            step = 2.5 * cfg.eps / cfg.inner_steps
            moved = self._budget.project(moved.detach() + step * gradient.sign(), images)
        return moved.detach()

    def _vectors(self, tower: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._cfg.bf16):
            rows = tower(self._inputs(images))
        return normalize(rows.float(), dim=1)


def _unit_of(run: _Run, images: Tensor, targets: Tensor | None, cfg: AlignmentConfig) -> float:
    """Average the inner attack's distance over several batches, before the first step."""
    generator = torch.Generator().manual_seed(cfg.seed)
    batches = batches_of(len(images), cfg.batch_size, cfg.seed)
    found = [
        run.attacked_distance(_pixels(images, part), _rows(targets, part), generator)
        for _ in range(cfg.n_scale_batches)
        for part in next(batches).chunk(cfg.n_accumulated)
    ]
    unit = sum(found) / len(found) if found else 1.0
    # An attack that moves nothing gives no unit: there is nothing to defend then.
    return unit if unit > 0 else 1.0


def _pixels(images: Tensor, chosen: Tensor) -> Tensor:
    batch = images[chosen]
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch


def _rows(targets: Tensor | None, chosen: Tensor) -> Tensor | None:
    return None if targets is None else targets[chosen]


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
