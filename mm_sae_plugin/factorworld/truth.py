"""What is true of a factor whose two rates are known, and what its labels are called.

``drawn`` is the probability that the image shows the factor's value, ``said`` the probability that
the caption mentions it, independently of each other. A latent that follows the factor, equally
strongly on both sides, fires on the image side as often as it is drawn and on the text side as
often as it is said: its true dominance is ``drawn / (drawn + said)``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

from mm_sae_plugin.errors import UserError

_DRAWN, _SAID = "drawn.", "said."


class Rated:
    """Anything that is drawn and said at known rates; what follows from them is defined here."""

    drawn: float
    """Probability that the image shows the value, 0 to 1."""
    said: float
    """Probability that the caption mentions the value, 0 to 1."""

    @property
    def dominance(self) -> float:
        """True modality dominance, 0 (text) to 1 (image)."""
        return self.drawn / (self.drawn + self.said)

    @property
    def modality(self) -> str:
        """The true class: ``ImgD``, ``TextD``, or ``CrossD`` where the factor is shared."""
        if self.drawn == self.said:
            return "CrossD"
        return "ImgD" if self.drawn > self.said else "TextD"

    @property
    def is_graded(self) -> bool:
        """Whether both sides have it, one more often than the other."""
        return self.drawn != self.said and min(self.drawn, self.said) > 0


@dataclass(frozen=True)
class Rates(Rated):
    """Two rates by themselves."""

    drawn: float
    """Probability that the image shows the value, 0 to 1."""
    said: float
    """Probability that the caption mentions the value, 0 to 1."""

    @classmethod
    def of(cls, factor: Union["Rated", tuple[float, float]]) -> "Rates":
        """Take the rates of a factor, or a pair (drawn, said).

        Raises
        ------
        UserError
            If a rate is no probability, or if both are 0: what never shows has no modality.
        """
        drawn, said = factor if isinstance(factor, tuple) else (factor.drawn, factor.said)
        if not (0 <= drawn <= 1 and 0 <= said <= 1 and drawn + said > 0):
            raise UserError(
                f"A factor cannot be drawn at the rate {drawn} and said at the rate {said}: give "
                "two probabilities, at least one of them above 0."
            )
        return cls(float(drawn), float(said))


def drawn_label(name: str) -> str:
    """Name of the label that holds what an image shows of a factor; empty: nothing."""
    return f"{_DRAWN}{name}"


def said_label(name: str) -> str:
    """Name of the label that holds what a caption says of a factor; empty: nothing."""
    return f"{_SAID}{name}"


def factor_labels(names: Iterable[str]) -> list[str]:
    """Names of both labels of every factor: first all that is drawn, then all that is said."""
    names = list(names)
    return [*map(drawn_label, names), *map(said_label, names)]


def is_factor_label(column: str) -> bool:
    """Whether a column of a table is called as the label of a factor is."""
    return column.startswith((_DRAWN, _SAID))
