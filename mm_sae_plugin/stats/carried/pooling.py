"""Pool adjacent violators (isotonic regression) for many rows at once."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Blocks:
    """Runs of bins that share one level; levels rise from block to block."""

    fires: Float[np.ndarray, "bins rows"]
    """Pairs of each block on which the latent fires; blocks come first, then whatever was left."""
    counts: Float[np.ndarray, "bins rows"]
    """Pairs of each block; 0 where there is no block."""

    def levels(self) -> Float[np.ndarray, "bins rows"]:
        """Share of firing pairs of each block; 0 where there is none."""
        return np.divide(
            self.fires, self.counts, out=np.zeros_like(self.fires), where=self.counts > 0
        )


def pool(fires: Float[np.ndarray, "rows bins"], counts: Float[np.ndarray, "rows bins"]) -> Blocks:
    """Merge neighbouring bins of every row until their levels rise; empty bins count for nothing.

    Every row keeps a stack of blocks. Bins are put on the stacks of all rows together, from left to
    right, and a block that does not lie above the one below it is added to that.

    Parameters
    ----------
    fires, counts : float64
        Whole numbers: pairs on which the latent fires, and all pairs.
    """
    n_rows, n_bins = counts.shape
    fires_of, counts_of = np.zeros((2, n_bins * n_rows))
    top: Int[np.ndarray, "rows"] = np.arange(n_rows) - n_rows
    """Where the top block of each row lies, rows apart; below 0 there is none."""
    for fired, counted in zip(fires.T, counts.T, strict=True):
        rows = np.flatnonzero(counted)
        top[rows] += n_rows
        at = top[rows]
        fires_of[at], counts_of[at] = fired[rows], counted[rows]
        while True:
            rows = rows[at >= n_rows]
            at = top[rows]
            below = at - n_rows
            # Products of whole numbers: nothing is rounded, so that ties are ties.
            falls = fires_of[below] * counts_of[at] >= fires_of[at] * counts_of[below]
            if not falls.any():
                break
            rows, at, below = rows[falls], at[falls], below[falls]
            fires_of[below] += fires_of[at]
            counts_of[below] += counts_of[at]
            fires_of[at] = counts_of[at] = 0
            top[rows] = at = below
    return Blocks(fires_of.reshape(n_bins, n_rows), counts_of.reshape(n_bins, n_rows))
