"""Isotonic regression (pool adjacent violators) of many rows at once."""

import numpy as np
from jaxtyping import Float


def rising_levels(
    fires: Float[np.ndarray, "rows bins"], counts: Float[np.ndarray, "rows bins"]
) -> Float[np.ndarray, "rows bins"]:
    """Shares of firing pairs that never fall from bin to bin, as close as can be to the counted.

    Every row keeps a stack of blocks of bins. Bins are put on the stacks of all rows together, from
    left to right, and a block that does not lie above the one below it is added to that.

    Parameters
    ----------
    fires, counts : float64
        Whole numbers: pairs on which the latent fires, and all pairs.

    Returns
    -------
    array, shape [rows, bins]
        An empty bin has the level of the one before it, or the lowest where none is before it; 0
        where a whole row is empty.
    """
    n_rows, n_bins = counts.shape
    # Bins first, so that what is done for all rows together lies together.
    fires_of, counts_of = np.zeros((2, n_bins * n_rows))
    first_bin = np.zeros(n_bins * n_rows, dtype=np.int64)
    opens = np.zeros((n_bins, n_rows), dtype=np.int8)
    # Where the top block of each row lies, rows apart; below 0 there is none.
    top = np.arange(n_rows) - n_rows
    for number, (fired, counted) in enumerate(zip(fires.T, counts.T, strict=True)):
        rows = np.flatnonzero(counted)
        top[rows] += n_rows
        at = top[rows]
        fires_of[at], counts_of[at], first_bin[at] = fired[rows], counted[rows], number
        opens[number, rows] = 1
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
            opens[first_bin[at], rows] = 0
            top[rows] = at = below
    block = (opens.cumsum(0, dtype=np.int64) - 1).clip(0)
    at = block * n_rows + np.arange(n_rows)
    return (fires_of[at] / counts_of[at].clip(1)).T
