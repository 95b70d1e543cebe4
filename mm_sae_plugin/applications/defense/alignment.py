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
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import normalize

from mm_sae_plugin.applications.defense.alignment_config import AlignmentConfig
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.distances import Distance
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path

CHECKPOINT = "checkpoint.pt"
_LOG_EVERY = 50


def align(
    tower: nn.Module,
    inputs: Any,
    images: Float[Tensor, "n 3 h w"] | UInt8[Tensor, "n 3 h w"],
    distance: Distance,
    cfg: AlignmentConfig,
    out: Path | None = None,
    targets: Tensor | None = None,
    anchor: Distance | None = None,
    progress: bool = False,
    told: Mapping[str, Any] | None = None,
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
    anchor : callable, optional
        What keeps the clean images' vectors where they were; by default the distance itself. One
        that sees a part of the vectors only needs another, or the rest of them drifts away.
    progress : bool
        Print the loss now and then.
    told : mapping, optional
        What else has to be the same where an interrupted run goes on, as plain JSON values.

    Raises
    ------
    UserError
        If there are fewer images than a batch takes, or ``out`` holds the checkpoint of other
        settings or a damaged one.
    """
    if len(images) < cfg.batch_size:
        raise UserError(
            f"A batch of {cfg.batch_size} is more than the {len(images)} images: give more images, "
            "or a smaller batch_size."
        )
    moving = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    before = copy.deepcopy(tower).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(moving, lr=cfg.lr, weight_decay=cfg.weight_decay)
    run = _Run(tower, before, inputs, distance, cfg, anchor)
    run.set_units(images, targets)
    settings = {"cfg": asdict(cfg), "told": dict(told or {})}
    losses = _restored(tower, optimizer, settings, out)
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
            _save(tower, optimizer, settings, losses, out)
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
        anchor: Distance | None,
    ) -> None:
        self._tower, self._before, self._inputs = tower, before, inputs
        self._distance, self._cfg, self._budget = distance, cfg, Budget(cfg.eps)
        self._anchor = anchor
        self._unit = self._anchor_unit = 1.0

    def backward(self, images: Tensor, targets: Tensor | None, generator: torch.Generator) -> float:
        """Add the gradient of one part of a batch; returns its loss."""
        cfg = self._cfg
        clean = self._clean(images)
        targets = clean if targets is None else targets
        moved = self._attacked(images, targets, generator)
        loss = self._distance(self._vectors(self._tower, moved), targets).mean() / self._unit
        if cfg.anchor:
            rows = self._vectors(self._tower, images)
            if self._anchor is None:
                own = self._distance(rows, targets).mean() / self._unit
            else:
                own = self._anchor(rows, clean).mean() / self._anchor_unit
            loss = loss + cfg.anchor * own
        (loss / cfg.n_accumulated).backward()
        return float(loss.detach())

    def set_units(self, images: Tensor, targets: Tensor | None) -> None:
        """Average over several batches how far the inner attack moves the tower as it was."""
        cfg, found, found_anchor = self._cfg, [], []
        generator = torch.Generator().manual_seed(cfg.seed)
        batches = batches_of(len(images), cfg.batch_size, cfg.seed)
        for _ in range(cfg.n_scale_batches):
            for part in next(batches).chunk(cfg.n_accumulated):
                pixels, clean = _pixels(images, part), self._clean(_pixels(images, part))
                aims = clean if targets is None else targets[part]
                with torch.no_grad():
                    moved = self._attacked(pixels, aims, generator)
                    rows = self._vectors(self._before, moved)
                    found.append(float(self._distance(rows, aims).mean()))
                    if self._anchor is not None:
                        found_anchor.append(float(self._anchor(rows, clean).mean()))
        self._unit, self._anchor_unit = _mean(found), _mean(found_anchor)

    @torch.no_grad()
    def _clean(self, images: Tensor) -> Tensor:
        return self._vectors(self._before, images)

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


def _mean(found: list[float]) -> float:
    # An attack that moves nothing gives no unit: there is nothing to defend then.
    mean = sum(found) / len(found) if found else 0.0
    return mean if mean > 0 else 1.0


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
    settings: dict[str, Any],
    losses: list[float],
    out: Path,
) -> None:
    content = {
        "settings": settings,
        "tower": tower.state_dict(),
        "optimizer": optimizer.state_dict(),
        "losses": losses,
    }
    with atomic_path(out / CHECKPOINT) as temporary:
        torch.save(content, temporary)


def _restored(
    tower: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    out: Path | None,
) -> list[float]:
    """Load a checkpoint of the same settings; returns the losses until then."""
    if out is None or not (out / CHECKPOINT).is_file():
        return []
    try:
        content = torch.load(out / CHECKPOINT, weights_only=True)
    # What torch raises depends on which bytes are wrong.
    except Exception as error:
        raise UserError(f"{out / CHECKPOINT} is damaged: remove it to start anew.") from error
    if content.get("settings") != settings:
        raise UserError(
            f"{out} holds a training with other settings: give another folder, or remove it."
        )
    tower.load_state_dict(content["tower"])
    optimizer.load_state_dict(content["optimizer"])
    return list(content["losses"])
