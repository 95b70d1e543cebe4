"""The Monosemanticity Score: how alike, pair by pair, is what a feature fires on?

Pach et al. 2025, "Sparse Autoencoders Learn Monosemantic Features in Vision-Language Models" (arXiv
2504.02821), our reading: with activations a_i of one feature scaled to 0–1 by their least and
greatest value, and unit rows ê_i of another encoder,

    MS = Σ_{i<j} a_i a_j ê_i·ê_j / Σ_{i<j} a_i a_j ,

cosines as they are, without a mean removed. It lies between -1 and 1. By chance (equal activations)
it is the mean cosine of all pairs, and not 0.
It favours sparse features: on FactorWorld an untrained SAE has more of it than raw dimensions,
whose EmbSim and WinRate are the same. So compare a trained SAE with an untrained one as well.

No pair is ever formed: the numerator is (‖Σ a_i ê_i‖² - Σ a_i²) / 2 and the denominator
((Σ a_i)² - Σ a_i²) / 2. The greatest value cancels, and the least can be taken away afterwards,
since Σ (a_i - c) ê_i = Σ a_i ê_i - c Σ ê_i and so on; so one pass gives it exactly.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats.interfaces import CodedPairs
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedRows
from mm_sae_plugin.stats.monosemanticity.estimate import Estimate


class PairwiseSums:
    """An accumulator of what the score needs, for each fold of images.

    Memory is n_folds · n_features · d numbers, however many rows there are.

    Parameters
    ----------
    modality : "image" or "text"
        Whose codes are read.
    rows : EmbeddedRows
        That modality's rows.
    n_features : int
        Number of features.
    """

    def __init__(self, modality: Modality, rows: EmbeddedRows, n_features: int) -> None:
        self.modality: Modality = modality
        self.rows = rows
        self.n_features = n_features
        n_folds, d = rows.n_folds, rows.unit.shape[1]

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(n_folds, *shape, dtype=torch.float64)

        self.weighted: Float[Tensor, "n_folds n_features d"] = zeros(n_features, d)
        """Σ a ê."""
        self.total: Float[Tensor, "n_folds n_features"] = zeros(n_features)
        """Σ a."""
        self.squares: Float[Tensor, "n_folds n_features"] = zeros(n_features)
        """Σ a²."""
        self.unit: Float[Tensor, "n_folds d"] = zeros(d)
        """Σ ê."""
        self.n_rows: Float[Tensor, "n_folds"] = zeros()
        """Number of rows."""
        self.least: Float[Tensor, "n_features"] = torch.full(
            (n_features,), torch.inf, dtype=torch.float64
        )
        """Least activation."""
        self.n_least: Float[Tensor, "n_folds n_features"] = zeros(n_features)
        """Rows that have it."""

    def empty(self) -> "PairwiseSums":
        """Sums of the same kind, over no rows."""
        return PairwiseSums(self.modality, self.rows, self.n_features)

    @torch.no_grad()
    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        codes, index = codes_of(self.modality, pairs)
        self.update(codes, index)

    def update(self, codes: Float[Tensor, "batch n_features"], index: Int[Tensor, "batch"]) -> None:
        """Add codes of the rows whose numbers are given, each row once in all."""
        used = self.rows.used[index]
        codes, index = codes.detach().cpu()[used].double(), index[used]
        if len(codes) == 0:
            return
        self._lower(codes.amin(0))
        unit, fold = self.rows.unit[index].double(), self.rows.fold[index]
        for number in fold.unique().tolist():
            mine = fold == number
            part = codes[mine]
            self.weighted[number] += part.T @ unit[mine]
            self.total[number] += part.sum(0)
            self.squares[number] += part.square().sum(0)
            self.unit[number] += unit[mine].sum(0)
            self.n_rows[number] += len(part)
            self.n_least[number] += (part == self.least).sum(0)

    def merge(self, other: "PairwiseSums") -> "PairwiseSums":
        """Add the sums over other rows; return `self`."""
        for name in ("weighted", "total", "squares", "unit", "n_rows"):
            getattr(self, name).add_(getattr(other, name))
        self._lower(other.least)
        self.n_least += torch.where(other.least == self.least, other.n_least, 0.0)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The sums as plain tensors."""
        names = ("weighted", "total", "squares", "unit", "n_rows", "least", "n_least")
        return {name: getattr(self, name) for name in names}

    @property
    def shift(self) -> Float[Tensor, "n_features"]:
        """What is taken away from activations: the least; 0 where there is no row."""
        return torch.where(self.least.isinf(), 0.0, self.least)

    def over(self, fold: int | None, name: str) -> Tensor:
        """One of the sums over all folds, or over all but one."""
        sums = getattr(self, name)
        return sums.sum(0) if fold is None else sums.sum(0) - sums[fold]

    def scaled(self, fold: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Σ a ê, Σ a and Σ a² of activations less the least one, over all but one fold."""
        c = self.shift
        total, n_rows = self.over(fold, "total"), self.over(fold, "n_rows")
        weighted = self.over(fold, "weighted") - c[:, None] * self.over(fold, "unit")
        squares = self.over(fold, "squares") - 2 * c * total + c.square() * n_rows
        return weighted, total - c * n_rows, squares

    def n_active(self, fold: int | None = None) -> Float[Tensor, "n_features"]:
        """Rows whose activation is above the least, over all but one fold."""
        return self.over(fold, "n_rows") - self.over(fold, "n_least")

    def estimate(self, n_least: int = 2) -> Estimate:
        """The score of every feature that is active on at least `n_least` rows (2 at least)."""
        values = self._scores(None).masked_fill(self.n_active() < n_least, torch.nan)
        folds = [self._scores(fold) for fold in range(self.rows.n_folds)]
        return Estimate(
            values.numpy(),
            torch.stack(folds).numpy(),
            self.n_active().numpy().astype(np.int64),
            bounds=(-1.0, 1.0),
        )

    def chance(self) -> float:
        """The score of a feature that fires everywhere alike: the mean cosine of all pairs."""
        n_rows = self.over(None, "n_rows")
        return mean_cosine(self.over(None, "unit"), float(n_rows))

    def _scores(self, fold: int | None) -> Float[Tensor, "n_features"]:
        weighted, total, squares = self.scaled(fold)
        above = weighted.square().sum(1) - squares
        below = total.square() - squares
        # Of a single row both are 0 but for rounding.
        known = self.n_active(fold) >= 2
        return torch.where(known, above / torch.where(known, below, 1.0), torch.nan)

    def _lower(self, least: Float[Tensor, "n_features"]) -> None:
        """Take note of lower activations than were seen before."""
        self.n_least[:, least < self.least] = 0
        self.least = torch.minimum(self.least, least)


def codes_of(
    modality: Modality, pairs: CodedPairs
) -> tuple[Float[Tensor, "batch n_features"], Int[Tensor, "batch"]]:
    """Codes of one modality in a batch, each image once, and which rows of the store they are."""
    if modality == "text":
        return pairs.codes_text, pairs.rows.pair_index
    new = pairs.rows.first_of_image
    return pairs.codes_image[new.to(pairs.codes_image.device)], pairs.rows.image_index[new]


def mean_cosine(unit_sum: Float[Tensor, "d"], n_rows: float) -> float:
    """Mean cosine of all pairs of different rows, from the sum of the unit rows."""
    if n_rows < 2:
        return float("nan")
    return float((unit_sum.square().sum() - n_rows) / (n_rows * (n_rows - 1)))
