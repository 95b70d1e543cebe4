"""EmbSim and WinRate: are the samples that a feature fires on most more alike than random ones?

Yan et al. 2025, "The Multi-Faceted Monosemanticity in Multimodal Representations" (arXiv
2502.14888), our reading: another encoder gives unit rows of the m samples on which a feature is
strongest, and of m random ones; S⁺ and S⁻ are their cosines, pair by pair.

    EmbSim  = Σ_{i≠j} (S⁺_ij - S⁻_ij) / (m (m - 1))
    WinRate = Σ_{i≠j} [S⁺_ij > S⁻_ij] / (m (m - 1)), ties counting one half

EmbSim lies between -2 and 2 and is 0 by chance, WinRate between 0 and 1 and is ½ by chance. One
random set adds noise of its own, so both are averaged over all random sets: the mean of S⁻ is that
over all pairs of samples, and [S⁺ > S⁻] becomes the share of random pairs that are less alike than
S⁺, read off a large draw of pairs.

For the intervals a fold's samples leave the m without others taking their place: m of N samples are
a share of them, and the same share of fewer samples are fewer. New ones would bring noise of their
own, and the intervals would be too wide.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats.examples import ExampleRows
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedRows
from mm_sae_plugin.stats.monosemanticity.estimate import Estimate
from mm_sae_plugin.stats.monosemanticity.pairwise import mean_cosine

# A share read off so many pairs is off by a thousandth.
_N_RANDOM_PAIRS = 200_000
# Rows that tie must tie, in whatever order their products were added.
_DECIMALS = 6
# Features whose similarities are held at once.
_BLOCK = 64


@dataclass(frozen=True)
class TopSimilarity:
    """Both measures at one number of samples."""

    n_top: int
    """m."""
    embsim: Estimate
    """Of every feature that fires on at least m samples."""
    winrate: Estimate
    """Of the same features."""


def top_similarity(
    examples: ExampleRows,
    modality: Modality,
    rows: EmbeddedRows,
    n_features: int,
    tops: tuple[int, ...],
    seed: int = 0,
) -> list[TopSimilarity]:
    """Compare the samples that each feature fires on most with random ones.

    Parameters
    ----------
    examples : ExampleRows
        The strongest rows of each feature, `max(tops)` of them at least.
    modality : "image" or "text"
        Of which modality.
    rows : EmbeddedRows
        That modality's rows.
    n_features : int
        Number of features.
    tops : tuple of int
        Every m that is asked for, at least 2.
    seed : int
        Of the random pairs.

    Raises
    ------
    UserError
        If there are fewer samples than the largest m.
    """
    if rows.n_used < max(tops):
        what = "images" if modality == "image" else "captions"
        raise UserError(
            f"EmbSim and WinRate at m = {max(tops)} need as many {what}, and there are "
            f"{rows.n_used}: extract more pairs, or ask for a smaller m."
        )
    random = _RandomPairs(rows, seed)
    n_sets = rows.n_folds + 1
    means = torch.zeros(2, n_sets, len(tops), n_features, dtype=torch.float64)
    n_active = torch.zeros(len(tops), n_features, dtype=torch.int64)
    kept = examples.image if modality == "image" else examples.text
    for block in torch.arange(n_features).split(_BLOCK):
        index, value = kept.of(block.tolist())
        active = (value > 0) & rows.used[index]
        cosines, won = random.compared(rows.unit[index])
        rank = active.cumsum(1)
        for number in range(n_sets):
            left = active if number == 0 else active & (rows.fold[index] != number - 1)
            pairs_of = cosines - random.mean[number], won(number)
            for at, n_top in enumerate(tops):
                chosen = left & (rank <= n_top)
                for measure, pairs in enumerate(pairs_of):
                    means[measure, number, at, block] = _mean_of_pairs(pairs, chosen.double())
                if number == 0:
                    n_active[at, block] = chosen.sum(1)
    return [
        TopSimilarity(
            n_top,
            _estimate(means[0, :, at], n_active[at], n_top, (-2.0, 2.0)),
            _estimate(means[1, :, at], n_active[at], n_top, (0.0, 1.0)),
        )
        for at, n_top in enumerate(tops)
    ]


def _mean_of_pairs(
    pairs: Float[Tensor, "block n n"], chosen: Float[Tensor, "block n"]
) -> Float[Tensor, "block"]:
    """Mean over pairs i ≠ j of chosen rows; NaN where there are fewer than two."""
    sums = torch.einsum("bi,bij,bj->b", chosen, pairs, chosen)
    sums = sums - (pairs.diagonal(dim1=1, dim2=2) * chosen).sum(1)
    n_chosen = chosen.sum(1)
    n_pairs = n_chosen * (n_chosen - 1)
    return torch.where(n_pairs > 0, sums / n_pairs.clamp_min(1), torch.nan)


def _estimate(
    sets: Float[Tensor, "n_sets n_features"],
    n_active: Int[Tensor, "n_features"],
    n_top: int,
    bounds: tuple[float, float],
) -> Estimate:
    values = sets[0].masked_fill(n_active < n_top, torch.nan)
    return Estimate(values.numpy(), sets[1:].numpy(), n_active.numpy().astype(np.int64), bounds)


class _RandomPairs:
    """Cosines of random pairs of samples, all of them and without each fold."""

    def __init__(self, rows: EmbeddedRows, seed: int) -> None:
        used = rows.used.nonzero().flatten()
        unit, fold = rows.unit[used].double(), rows.fold[used]
        kept = [torch.ones_like(fold, dtype=torch.bool)]
        kept += [fold != number for number in range(rows.n_folds)]
        self.mean = [mean_cosine(unit[mine].sum(0), float(mine.sum())) for mine in kept]
        """Mean over all pairs; then without each fold."""
        generator = torch.Generator().manual_seed(seed)
        n = len(used)
        first = torch.randint(n, (_N_RANDOM_PAIRS,), generator=generator)
        # Any other row than the first.
        second = (first + torch.randint(1, n, (_N_RANDOM_PAIRS,), generator=generator)) % n
        cosines = (rows.unit[used[first]] * rows.unit[used[second]]).sum(1)
        self._sorted, order = cosines.round(decimals=_DECIMALS).sort()
        pairs_kept = torch.stack([(mine[first] & mine[second])[order] for mine in kept])
        below = torch.cat([torch.zeros(len(kept), 1), pairs_kept.double().cumsum(1)], dim=1)
        self._below = below / below[:, -1:]
        """Share of the pairs that come before each place of the sorted ones."""

    def compared(
        self, unit: Float[Tensor, "block n d"]
    ) -> tuple[Float[Tensor, "block n n"], Callable[[int], Float[Tensor, "block n n"]]]:
        """Cosines of all pairs of rows, and how often each wins against the pairs of one set."""
        cosines = (unit @ unit.transpose(1, 2)).round(decimals=_DECIMALS)
        left = torch.searchsorted(self._sorted, cosines)
        right = torch.searchsorted(self._sorted, cosines, right=True)

        def won(number: int) -> Float[Tensor, "block n n"]:
            below = self._below[number]
            return (below[left] + below[right]) / 2

        return cosines.double(), won
