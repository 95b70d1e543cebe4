"""Whether what both modalities show is held by one feature or split into one for each.

The truth is that of FactorWorld: of every value of every factor it is known which images show it
and which captions say it, so that a concept need not be guessed from partners.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.truth import Rated, Rates
from mm_sae_plugin.stats.label_sums import LabelSums
from mm_sae_plugin.stats.truth import TruthSums


@dataclass(frozen=True)
class SplitValue:
    """One value of a factor that both sides can have, and the features that follow it best."""

    factor: str
    """The factor."""
    value: str
    """Its value."""
    image: int | None
    """The feature whose image codes follow it best; None where none does well enough."""
    text: int | None
    """The same of text codes."""
    both: int | None
    """The feature that follows it on both sides, the best of them by the side on which it does
    less well; None where there is none."""

    @property
    def is_followed(self) -> bool:
        """Whether some feature follows it on either side, be it the same or not."""
        return self.image is not None and self.text is not None

    @property
    def is_split(self) -> bool:
        """Whether it is followed on both sides, and no feature serves both."""
        return self.is_followed and self.both is None


@dataclass(frozen=True)
class SplitCheck:
    """How many values are split.

    A feature *follows* a value on a side when its code there correlates with whether the side
    shows the value, with r > 0 and r² ≥ `min_r2`. The *split rate* is the share of the values
    followed on both sides that no feature follows on both: they have one feature (or more) for
    images and another for captions. What is not followed is in no rate, so that features that
    follow nothing are no success: look at `n_followed` first.
    """

    values: list[SplitValue]
    """Every value of every factor that is both drawn and said, in the factors' order."""
    min_r2: float
    """The threshold of following."""

    @property
    def n_values(self) -> int:
        """Values that both sides can have."""
        return len(self.values)

    @property
    def n_followed(self) -> int:
        """Values that are followed on both sides."""
        return sum(value.is_followed for value in self.values)

    @property
    def n_split(self) -> int:
        """Values that are followed on both sides, by no feature that serves both."""
        return sum(value.is_split for value in self.values)

    @property
    def n_best_differ(self) -> int:
        """Values that are followed on both sides, best by one feature here and another there; some
        feature may serve both all the same, only less well."""
        return sum(value.is_followed and value.image != value.text for value in self.values)

    @property
    def rate(self) -> float | None:
        """Split among followed values, 0 to 1; None where none is followed."""
        return self.n_split / self.n_followed if self.n_followed else None

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval of the rate, were values independent; (0, 1) where none is followed."""
        from scipy.stats import binomtest

        if not self.n_followed:
            return 0.0, 1.0
        found = binomtest(self.n_split, self.n_followed).proportion_ci(confidence, "wilson")
        return float(found.low), float(found.high)

    def record(self, confidence: float = 0.95) -> dict[str, Any]:
        """Rate, interval and counts as plain JSON."""
        one_sided = {
            "n_image_only": sum(v.image is not None and v.text is None for v in self.values),
            "n_text_only": sum(v.image is None and v.text is not None for v in self.values),
        }
        return {
            "rate": self.rate,
            "interval": list(self.interval(confidence)),
            "n_split": self.n_split,
            "n_followed": self.n_followed,
            "n_best_differ": self.n_best_differ,
            **one_sided,
            "n_values": self.n_values,
            "min_r2": self.min_r2,
        }


def value_correlations(
    sums: LabelSums, name: str
) -> tuple[list[str], Float[Tensor, "n_values n_features"]]:
    """Correlate every code with whether a row has each value of a label.

    From the means within and without: r² is the share of the code's variance that lies between
    the rows that have the value and those that have not.

    Returns
    -------
    list of str
        The values.
    float64, −1 to 1
        Pearson's r; 0 where a code or a value never varies.
    """
    n = sums.n_rows
    stretch = sums.table.stretch(name)
    counts = sums.table.counts[stretch][:, None]
    assert n == len(sums.table.numbers), "some rows were never added"
    covaries = sums.sums[stretch] / n - counts / n * (sums.total / n)
    whole = sums.total_squared / n - (sums.total / n) ** 2
    # Rounding leaves a little "variance" in a constant code.
    varies = whole > 1e-12 * (sums.total_squared / n).clamp_min(1e-300)
    spread = (counts / n * (1 - counts / n) * torch.where(varies, whole, 0.0)).clamp_min(0).sqrt()
    r = torch.where(spread > 0, covaries / spread.clamp_min(1e-300), 0.0).clamp(-1, 1)
    return sums.table.values[name], r


def check_splits(
    sums: TruthSums,
    alive: Bool[Tensor, "n_features"],
    factors: Mapping[str, Rated | tuple[float, float]],
    min_r2: float = 0.25,
) -> SplitCheck:
    """Ask of every value that both sides can have which features follow it.

    Parameters
    ----------
    sums : TruthSums
        Of a pass over a store.
    alive : bool
        Features that count.
    factors : mapping of name to `Factor` or (drawn, said)
        The known rates. Factors that one side never has cannot be split and are left out.
    min_r2 : float
        Share of a code's variance that the value explains where the feature follows it, above 0
        and at most 1.

    Raises
    ------
    UserError
        If the threshold is no share.
    """
    if not 0 < min_r2 <= 1:
        raise UserError(f"min_r2 must lie above 0 and be at most 1, not {min_r2}.")
    least = min_r2**0.5
    values = []
    for name, factor in factors.items():
        rates = Rates.of(factor)
        if min(rates.drawn, rates.said) == 0:
            continue
        drawn, image = value_correlations(sums.image, name)
        said, text = value_correlations(sums.text, name)
        for value in drawn:
            # The empty value says that the side does not show the factor.
            if value == "" or value not in said:
                continue
            sides = image[drawn.index(value)], text[said.index(value)]
            of_image, of_text = (torch.where(alive, r, -1.0) for r in sides)
            worse = torch.minimum(of_image, of_text)
            found = (_best(r, least) for r in (of_image, of_text, worse))
            values.append(SplitValue(name, value, *found))
    return SplitCheck(values, min_r2)


def _best(r: Float[Tensor, "n_features"], least: float) -> int | None:
    best = int(r.argmax())
    return best if float(r[best]) >= least else None
