"""What an evaluation depends on. Standard library only, so that the command line is quick."""

from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.errors import UserError


@dataclass(frozen=True)
class SteeringConfig:
    """How much is drawn."""

    out: Path
    """Folder for `steering.json` and the figure."""
    n_cases: int = 24
    """Prompts, each with a reference of its own."""
    n_seeds: int = 10
    """Pictures of each prompt and arm."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0)
    """|Δe| / |e|, the same for every arm."""
    n_faithful: int = 100
    """Prompts for every factor, to see whether the generator draws what it is asked."""
    seed: int = 0
    """Of the random latents."""

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        if self.n_cases < 2 or self.n_seeds < 1:
            raise UserError("Two cases and one seed are the least that an interval can be made of.")
        if not self.strengths or min(self.strengths) <= 0:
            raise UserError(f"Strengths must be above 0, not {self.strengths}.")
