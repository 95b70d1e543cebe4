"""How much of the labels' stability is asked. Standard library only, so that the CLI is quick."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mm_sae_plugin.errors import UserError, check_numbers


@dataclass(frozen=True)
class StabilityConfig:
    """What is trained again, and what is varied."""

    n_seeds: int = 1
    """SAEs to train like the one given, from the seeds that follow its own; 0 trains none."""
    min_cosine: float = 0.7
    """Decoder cosine from which on two latents of different SAEs are called the same."""
    cosines: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    """Other such borders, to see what hangs on it."""
    n_shuffles: int = 1000
    """Random matchings that say how many classes would survive by chance."""
    taus: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    """Widths of the paper rule's middle band."""
    min_activations: tuple[int, ...] = (1, 5, 10, 20, 50, 100)
    """Images on which a latent must fire at least before it is labelled."""
    l0_factors: tuple[float, ...] = ()
    """SAEs of other sparsity to train, in multiples of k."""
    size_factors: tuple[float, ...] = ()
    """SAEs of other sizes to train, in multiples of the number of latents."""
    confidence: float = 0.95
    """Of the intervals, between 0 and 1."""
    seed: int = 0
    """Of the random matchings and the bootstrap; the SAEs' seeds follow that of the one given."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.n_seeds < 0:
            raise UserError(f"n_seeds must be 0 or more, not {self.n_seeds}.")
        if not 0 < self.min_cosine <= 1:
            raise UserError(f"min_cosine must lie between 0 and 1, not {self.min_cosine}.")
        if any(not 0 < cosine <= 1 for cosine in self.cosines):
            raise UserError(f"cosines must lie between 0 and 1, not {self.cosines}.")
        if self.n_shuffles < 20:
            raise UserError(
                f"Chance takes at least 20 random matchings (n_shuffles), not {self.n_shuffles}."
            )
        if not 0 < self.confidence < 1:
            raise UserError(f"The confidence must lie between 0 and 1, not {self.confidence}.")
        for name in ("l0_factors", "size_factors"):
            if any(factor <= 0 for factor in getattr(self, name)):
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}.")

    def full(self) -> StabilityConfig:
        """Return a larger one: three other seeds, two other sparsities and two other sizes."""
        return replace(self, n_seeds=3, l0_factors=(0.5, 2.0), size_factors=(0.5, 2.0))
