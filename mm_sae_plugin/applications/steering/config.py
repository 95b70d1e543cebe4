"""What an evaluation depends on. Standard library only, so that the command line is quick."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from mm_sae_plugin.errors import UserError, check_numbers

_MOST_CASES = 1_000
_MOST_FAITHFUL = 10_000


@dataclass(frozen=True)
class SteeringConfig:
    """How much is drawn."""

    out: Path
    """Folder for `steering.json` and the figure."""
    n_cases: int = 24
    """Prompts, each with a reference of its own, at most 1,000; six are the least for a verdict."""
    n_seeds: int = 10
    """Pictures of each prompt and arm, at most 1,000."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0)
    """|Δe| / |e|, the same for every arm, each once."""
    n_faithful: int = 100
    """Prompts for every factor, to see whether the generator draws what it is asked;
    1 to 10,000."""
    seed: int = 0
    """Of the random latents."""

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        check_numbers(self)
        if self.n_cases < 2 or self.n_seeds < 1:
            raise UserError("Two cases and one seed are the least that an interval can be made of.")
        # The world of prompts has no end, so that only days of drawing would tell.
        for name, asked, most in (
            ("cases", self.n_cases, _MOST_CASES),
            ("seeds", self.n_seeds, _MOST_CASES),
            ("prompts for every factor (n_faithful)", self.n_faithful, _MOST_FAITHFUL),
        ):
            if asked > most:
                raise UserError(f"{asked:,} {name} would take days: give {most:,} at most.")
        if self.n_faithful < 1:
            raise UserError(
                f"n_faithful must be at least 1, not {self.n_faithful}: of no prompt there is no "
                "share that is drawn as asked."
            )
        are_above = all(isfinite(strength) and strength > 0 for strength in self.strengths)
        if not self.strengths or not are_above:
            raise UserError(f"Strengths must be finite and above 0, not {self.strengths}.")
        if len(set(self.strengths)) < len(self.strengths):
            raise UserError(f"A strength is given twice in {self.strengths}: give each once.")
