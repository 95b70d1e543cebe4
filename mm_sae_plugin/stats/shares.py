"""A share of a number of things, with the interval that goes with it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Share:
    """So many of so many, with Wilson's interval."""

    count: int
    """How many."""
    n: int
    """Of how many."""
    low: float | None
    """Low end; None where there is nothing to take a share of."""
    high: float | None
    """High end."""

    @classmethod
    def of(cls, count: int, n: int, confidence: float = 0.95) -> "Share":
        """Return the share with Wilson's score interval (Wilson 1927), for independent things.

        Parameters
        ----------
        count, n : int
            0 <= count <= n.
        confidence : float
            Between 0 and 1.
        """
        from scipy.stats import binomtest

        assert 0 <= count <= n
        if n == 0:
            return cls(0, 0, None, None)
        ends = binomtest(count, n).proportion_ci(confidence, method="wilson")
        return cls(count, n, float(ends.low), float(ends.high))

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None where there is nothing to take a share of."""
        return self.count / self.n if self.n else None

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "count": self.count,
            "n": self.n,
        }

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "none of 0"
        ends = f"{100 * self.low:.0f}–{100 * self.high:.0f}%"
        return f"{self.count:,} of {self.n:,} ({100 * self.value:.0f}%, {ends})"
