"""Everything that decides the training of a non-negative head; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.errors import UserError, check_numbers


@dataclass(frozen=True)
class NCLConfig:
    """Train a non-negative contrastive head on a store of activations."""

    n_features: int = 512
    """Width of the codes."""
    shared: bool = True
    """One projection for both towers; False gives each its own."""
    hidden: int | None = None
    """Width of a hidden layer; None: the projection is linear."""
    training_steps: int = 1500
    """Optimiser steps."""
    batch_size: int = 512
    """Pairs of a batch: each is told from all others, so it needs at least 2."""
    lr: float = 1e-3
    """Learning rate of Adam, after a linear warm-up over a twentieth of the steps; it falls to zero
    over the last third."""
    temperature: float = 0.07
    """What cosines are divided by at the start; it is learnt, and stays above 0.01."""
    seed: int = 0
    """Seed of the weights and of the order of the pairs."""
    device: str = "cpu"
    """Where it is trained."""
    out: Path | None = None
    """Folder to write the head into; without it nothing is written."""

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("n_features", "training_steps", "hidden"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1; got {value}.")
        if self.batch_size < 2:
            raise UserError(
                f"batch_size must be at least 2, so that there is a wrong caption to tell the "
                f"right one from; got {self.batch_size}."
            )
        for name in ("lr", "temperature"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0; got {getattr(self, name)}.")
