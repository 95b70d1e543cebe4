"""Which systems are compared, and how. Standard library only, so that the command line is quick."""

from dataclasses import dataclass, field

from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.stats.config import ModalityConfig

OWN = "sae"
"""The SAE of the study, as it is."""
QUICK = (OWN, "raw", "pca")
"""What needs no training."""
PAPER = (OWN, "raw", "ncl_shared")
"""The systems of Yan et al. 2025 that one model gives: CLIP+SAE, CLIP and CLIP+NCL."""


@dataclass(frozen=True)
class ComparisonConfig:
    """How systems are compared."""

    labels: ModalityConfig = field(default_factory=ModalityConfig)
    """Score, rule and limits of the labels; the same for every system."""
    min_r2: float = 0.25
    """Share of a code's variance that a factor's value explains where a feature follows it."""
    n_bins: int = 20
    """Bins of the histograms of scores between 0 and 1."""
    training_steps: int | None = None
    """Optimiser steps of whatever is trained; None for as many as the study's SAE had."""
    seed: int = 0
    """Seed of whatever is trained or drawn."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if not 0 < self.min_r2 <= 1:
            raise UserError(f"min_r2 must lie above 0 and be at most 1, not {self.min_r2}.")
        if self.n_bins < 1:
            raise UserError(f"n_bins must be at least 1, not {self.n_bins}.")
        if self.training_steps is not None and self.training_steps < 1:
            raise UserError(f"training_steps must be at least 1, not {self.training_steps}.")
