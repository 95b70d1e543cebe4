"""What a modality label depends on besides the data. Standard library only, so the CLI is quick."""

from dataclasses import dataclass
from typing import Literal

from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE, SENTENCES, LabelScore, ScoreName

RuleName = Literal["paper", "interval"]

CLASSES = ("ImgD", "CrossD", "TextD", "Undetermined", "Dead")
"""Every modality class, from image to text, then the two that are no answer."""


@dataclass(frozen=True)
class ModalityConfig:
    """How scores become classes."""

    score: LabelScore = CARRIED
    """Which score is classified: `carried` asks whether the other modality carries what the latent
    fires for, and stays true in large dictionaries. The others compare its own codes:
    `mean_of_ratios` is the paper's, `ratio_of_means` and `frequency` can be calibrated against
    known rates, `energy` is the same on squared activations."""
    rule: RuleName = "interval"
    """`interval`: the whole confidence interval must lie on one side of fixed cut-offs, otherwise
    `Undetermined`. `paper`: mean ± tau standard deviations over the alive latents; on skewed scores
    its borders leave [0, 1]."""
    tau: float = 1.0
    """Width of the paper rule's middle band, in standard deviations of the alive scores."""
    cutoffs: tuple[float, float] = (0.35, 0.65)
    """The interval rule's borders: below the first is text, above the second is image."""
    confidence: float = 0.95
    """Confidence level of every interval, between 0 and 1."""
    min_activations: int = 10
    """A latent is `Dead` when it is active, in either modality, for fewer images than this."""

    @property
    def code_score(self) -> ScoreName:
        """The score of the latent's own codes for what `carried` has no answer to: the paper's."""
        return PAPER_SCORE if self.score == CARRIED else self.score

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        check_numbers(self)
        if self.score not in SENTENCES:
            raise UserError(f"Unknown score {self.score!r}; choose one of {', '.join(SENTENCES)}.")
        if self.rule not in ("paper", "interval"):
            raise UserError(f"Unknown rule {self.rule!r}; choose `paper` or `interval`.")
        if not 0 < self.confidence < 1:
            raise UserError(f"The confidence must lie between 0 and 1, not {self.confidence}.")
        low, high = self.cutoffs
        if not 0 < low <= high < 1:
            raise UserError(f"The cut-offs must satisfy 0 < low <= high < 1, not {low}, {high}.")
        if self.tau < 0:
            raise UserError(f"tau must not be negative, not {self.tau}.")
        if self.min_activations < 1:
            raise UserError(f"min_activations must be at least 1, not {self.min_activations}.")
