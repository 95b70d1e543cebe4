"""The scores of a latent's modality: one row for each, and nothing else to touch for another.

These are functions of sums of codes. `carried` is not: it reads the activations (see `carried/`).

Standard library only, so that the command line is quick.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

Channel = Callable[[str], Any]
"""Name of a channel (see `moments.CHANNELS`) to its sums."""


@dataclass(frozen=True)
class Score:
    """A score is image / (image + text), with both sides sums over pairs."""

    sides: Callable[[Channel], tuple[Any, Any]]
    """Image side and text side, from the channels' sums."""
    bounded: bool
    """Whether a pair adds at most 1 to either side: then the variance of the sums is known as well
    as the number of images says, and otherwise only as well as the skewed activations let it."""
    sentence: str
    """What it is, for people."""


SCORES: dict[str, Score] = {
    "mean_of_ratios": Score(
        lambda c: (c("ratio"), c("fires_image") + c("fires_text") - c("fires_both") - c("ratio")),
        bounded=True,
        sentence="the paper's: mean of a_I / (a_I + a_T) over the pairs on which it is active",
    ),
    "ratio_of_means": Score(
        lambda c: (c("image"), c("text")),
        bounded=False,
        sentence="mean activation on images over the sum of the two means",
    ),
    "frequency": Score(
        lambda c: (c("fires_image"), c("fires_text")),
        bounded=True,
        sentence="firing rate on images over the sum of the two rates",
    ),
    "energy": Score(
        lambda c: (c("image_squared"), c("text_squared")),
        bounded=False,
        sentence="mean squared activation on images over the sum of the two",
    ),
}
"""Every score by name, the paper's first."""

PAPER_SCORE = "mean_of_ratios"
"""The paper's score, beside which others are shown."""

CARRIED = "carried"
"""The score that asks whether the other side carries the same thing."""

SENTENCES: dict[str, str] = {
    CARRIED: "how often images show what the latent fires for, over how often images and captions "
    "do, read from either side's activations",
    **{name: score.sentence for name, score in SCORES.items()},
}
"""What every score is, `carried` among them."""

if TYPE_CHECKING:
    ScoreName = str
    LabelScore = str
else:
    ScoreName = Literal[tuple(SCORES)]
    LabelScore = Literal[(CARRIED, *SCORES)]
