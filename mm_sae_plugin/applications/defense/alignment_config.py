"""How a tower is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from mm_sae_plugin.applications.defense.radius import check_radius
from mm_sae_plugin.errors import UserError, check_numbers

_FROM_0 = ("inner_steps", "warm_up_steps", "n_scale_batches")
_FROM_1 = ("n_steps", "batch_size", "n_accumulated", "checkpoint_every")
_NUMBERS = ("lr", "weight_decay", "anchor")


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
        check_numbers(self)
        check_radius(self.eps, "Linf")
        for least, names in enumerate((_FROM_0, _FROM_1)):
            for name in names:
                if getattr(self, name) < least:
                    raise UserError(
                        f"{name} must be a whole number from {least}, not {getattr(self, name)}."
                    )
        for name in _NUMBERS:
            value = getattr(self, name)
            if not 0 <= value < inf or (name == "lr" and value == 0):
                above = "above 0" if name == "lr" else "from 0"
                raise UserError(f"{name} must be a finite number {above}, not {value:g}.")
        if self.batch_size % self.n_accumulated:
            raise UserError(
                f"A batch of {self.batch_size} cannot be cut into {self.n_accumulated} equal parts."
            )
