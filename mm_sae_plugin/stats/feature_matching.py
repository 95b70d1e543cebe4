"""Which feature of another dictionary is the same as this one.

Two trainings number their latents at will, so before anything of them can be compared each is given
a partner: the one-to-one assignment with the largest sum of decoder cosines (Hungarian matching, as
in Paulo and Belrose 2025, arXiv 2501.16615; their cosine is of encoder and decoder, ours of the
decoder alone, which every feature map with directions has).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Entries of the matrix of costs that is held whole: 8,192 by 8,192, half a GB in float64.
_WHOLE = 2**26
# Beyond, only so many of the nearest features of either dictionary are looked at for each.
_CANDIDATES = 64
# Rows that are compared with the other dictionary at a time.
_BLOCK = 512
# Pairs of features whose cosine is computed at a time.
_EDGES = 2**13
# Beside the cost of a partner, 1 to 3.
_ALONE = 1000.0


@dataclass(frozen=True)
class FeatureMatching:
    """A partner in another dictionary for each feature of this one."""

    partner: Int[Tensor, "n_features"]
    """int64: number of the feature there; -1 where there is none, or this one is left out."""
    cosine: Float[Tensor, "n_features"]
    """float64, −1 to 1: of the two directions; NaN where there is no partner."""

    def within(self, min_cosine: float) -> Bool[Tensor, "n_features"]:
        """Which features have a partner that is near enough to be called the same."""
        return (self.partner >= 0) & (self.cosine.nan_to_num(-2.0) >= min_cosine)


def match_features(
    first: Float[Tensor, "n_features d"],
    second: Float[Tensor, "n_others d"],
    alive_first: Bool[Tensor, "n_features"] | None = None,
    alive_second: Bool[Tensor, "n_others"] | None = None,
    whole: int = _WHOLE,
    n_candidates: int = _CANDIDATES,
) -> FeatureMatching:
    """Match the features of two dictionaries one to one, by the cosine of their directions.

    Dead features get no partner and are nobody's: their directions are where the initialisation
    left them, or were dragged somewhere by the auxiliary loss, and stand for nothing. The same goes
    for directions of length 0. The sizes may differ; then some are left over on the larger side.

    Parameters
    ----------
    first, second : float
        Directions, such as the rows of ``W_dec``; lengths do not matter.
    alive_first, alive_second : bool, optional
        Which features take part; all by default.
    whole : int
        Up to so many pairs of features the assignment is the best of all. Beyond, it is the best
        among each one's nearest, and memory grows with the number of features rather than with its
        square.
    n_candidates : int
        How many of the nearest these are, either way.

    Returns
    -------
    FeatureMatching
        Of `first`.
    """
    assert first.shape[1] == second.shape[1], "directions of different spaces have no cosine"
    rows, unit_first = _taking_part(first, alive_first)
    columns, unit_second = _taking_part(second, alive_second)
    partner = torch.full((len(first),), -1, dtype=torch.int64)
    cosine = torch.full((len(first),), torch.nan, dtype=torch.float64)
    if len(rows) and len(columns):
        fits = len(rows) * len(columns) <= whole
        assign = _assigned if fits else _assigned_among_nearest
        own, other = assign(unit_first, unit_second, n_candidates)
        partner[rows[own]] = columns[other]
        cosine[rows[own]] = (unit_first[own] * unit_second[other]).sum(1).clamp(-1, 1)
    return FeatureMatching(partner, cosine)


def _taking_part(
    directions: Tensor, alive: Tensor | None
) -> tuple[Int[Tensor, "m"], Float[Tensor, "m d"]]:
    directions = directions.detach().to("cpu", torch.float64)
    norm = directions.norm(dim=1)
    takes_part = norm > 0 if alive is None else alive.cpu() & (norm > 0)
    numbers = takes_part.nonzero()[:, 0]
    return numbers, directions[numbers] / norm[numbers, None]


def _assigned(first: Tensor, second: Tensor, n_candidates: int) -> tuple[Tensor, Tensor]:
    """The best of all assignments; `n_candidates` has no part in it."""
    from scipy.optimize import linear_sum_assignment

    cost = np.empty((len(first), len(second)))
    for start in range(0, len(first), _BLOCK):
        cost[start : start + _BLOCK] = -(first[start : start + _BLOCK] @ second.T).numpy()
    own, other = linear_sum_assignment(cost)
    return torch.from_numpy(own), torch.from_numpy(other)


def _assigned_among_nearest(
    first: Tensor, second: Tensor, n_candidates: int
) -> tuple[Tensor, Tensor]:
    """The best assignment of those that pair neighbours only; a feature may stay alone."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n, m = len(first), len(second)
    own, other = _nearest(first, second, n_candidates)
    theirs, mine = _nearest(second, first, n_candidates)
    edges = torch.unique(torch.cat([own * m + other, mine * m + theirs]))
    own, other = edges // m, edges % m
    parts = zip(own.split(_EDGES), other.split(_EDGES), strict=True)
    cosine = torch.cat([(first[a] * second[b]).sum(1) for a, b in parts])
    # Each feature may also stay alone, so that a full matching always exists, but at a price at
    # which as few do as can. Costs are above 0, since an edge of 0 is none.
    alone = torch.arange(n)
    costs = torch.cat([2 - cosine, torch.full((n,), _ALONE, dtype=torch.float64)])
    at = torch.cat([own, alone]), torch.cat([other, m + alone])
    graph = csr_array((costs.numpy(), (at[0].numpy(), at[1].numpy())), shape=(n, m + n))
    taken, partner = (
        torch.from_numpy(each.astype(np.int64))
        for each in min_weight_full_bipartite_matching(graph)
    )
    is_pair = partner < m
    return taken[is_pair], partner[is_pair]


def _nearest(
    of: Float[Tensor, "n d"], among: Float[Tensor, "m d"], n_nearest: int
) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs"]]:
    """Pairs of each row and the rows of the other matrix that it is nearest to."""
    n_nearest = min(n_nearest, len(among))
    nearest = torch.cat(
        [(part @ among.T).topk(n_nearest, dim=1).indices for part in of.split(_BLOCK)]
    )
    own = torch.arange(len(of))[:, None].expand_as(nearest)
    return own.flatten(), nearest.flatten()
