"""Every way to put some of n things on the first side, or many such ways at random."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Bool, Int

MOST = 20_000
"""Ways that are gone through one by one; where there are more, as many are drawn at random."""


@dataclass(frozen=True)
class Assignments:
    """The ways to choose ``n_first`` of ``n``, of which the one that was observed is one."""

    n: int
    """Things to be put on either side."""
    n_first: int
    """How many of them on the first; at least one."""
    seed: int = 0
    """Of the draws, where there are too many ways to go through them all."""

    @property
    def is_complete(self) -> bool:
        """Whether all ways are gone through, so that p is exact."""
        return comb(self.n, self.n_first) <= MOST

    def __len__(self) -> int:
        return min(comb(self.n, self.n_first), MOST)

    def __iter__(self) -> Iterator[Bool[np.ndarray, "n"]]:
        for members in self._chosen():
            mask = np.zeros(self.n, dtype=bool)
            mask[members] = True
            yield mask

    @property
    def floor(self) -> float:
        """The least p that there can be: one over the ways, the observed one among them."""
        return 1 / (len(self) + (not self.is_complete))

    def p(self, n_reached: int) -> float:
        """Return the share of ways that reach what was observed.

        Parameters
        ----------
        n_reached : int
            How many of those gone through reach it. Where they are drawn at random the observed
            way counts as one more, so that p is never zero.
        """
        drawn = not self.is_complete
        return (n_reached + drawn) / (len(self) + drawn)

    def _chosen(self) -> Iterator[Int[np.ndarray, "n_first"]]:
        if self.is_complete:
            yield from map(np.array, combinations(range(self.n), self.n_first))
            return
        rng = np.random.default_rng(self.seed)
        for _ in range(MOST):
            yield rng.permutation(self.n)[: self.n_first]
