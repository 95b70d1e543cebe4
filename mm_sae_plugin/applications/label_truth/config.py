"""What a sweep trains. Standard library only, so that the command line is quick."""

from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.errors import UserError, check_numbers, check_seeds

SMALL, SMALL_K, K = 96, 12, 16
"""Dictionaries of up to `SMALL` latents have `SMALL_K` active ones, larger ones `K`."""
VARIED = 512
"""The size at which a sweep also varies k, the architecture and the model."""


@dataclass(frozen=True)
class SweepConfig:
    """Train dictionaries on the embedded world and check every score against its truth."""

    out: Path = Path("runs/truth")
    """Folder for truth.json, the figure, the activations, and one file for each dictionary."""
    sizes: tuple[int, ...] = (96, 256, 512, 1024, 4096)
    """Latents of the dictionaries. At 512, the first seed also has other k, other architectures and
    the other model."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the dictionaries; the world's is always 0."""
    pairs: int = 16_000
    """Image–caption pairs to draw, at least 500."""
    full: bool = False
    """Train every size in every architecture on both models with every seed: hours."""
    training_steps: int | None = None
    """Optimiser steps of each dictionary; None for the trainer's default."""
    n_workers: int = 2
    """Processes, of one thread each."""
    resume: bool = True
    """Keep dictionaries that an earlier run in the same folder finished with the same settings."""

    def __post_init__(self) -> None:
        if not self.sizes or not self.seeds:
            raise UserError("A sweep needs at least one of sizes and one of seeds.")
        if min(self.sizes) < K:
            raise UserError(f"A dictionary needs at least {K} latents, not {min(self.sizes)}.")
        check_numbers(self)
        check_seeds(*self.seeds)
        if self.pairs < 500:
            raise UserError(
                f"A sweep needs at least 500 pairs to tell latents apart, not {self.pairs}."
            )
        if self.training_steps is not None and self.training_steps < 1:
            raise UserError(f"training_steps must be at least 1, not {self.training_steps}.")
        if self.n_workers < 1:
            raise UserError(f"n_workers must be at least 1, not {self.n_workers}.")
