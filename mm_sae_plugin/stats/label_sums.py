"""Mergeable sums of codes by the value of a label, and the correlation ratio they give."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class LabelSums:
    """Sums of the codes of one side, split by the values of each label.

    Parameters
    ----------
    labels : dict of str to sequence of str, each of length n_rows
        Every label of every row; an empty value ("not shown") is a value like any other.
    n_features : int
        Number of latents.
    """

    def __init__(self, labels: dict[str, Sequence[str]], n_features: int) -> None:
        self.values: dict[str, list[str]] = {}
        """The values of each label, sorted."""
        self._numbers: dict[str, Tensor] = {}
        for name, rows in labels.items():
            values, numbers = np.unique(
                np.asarray(rows, dtype=object).astype(str), return_inverse=True
            )
            self.values[name] = values.tolist()
            self._numbers[name] = torch.from_numpy(numbers.astype(np.int64))
        self.counts = {
            name: torch.bincount(numbers, minlength=len(self.values[name])).to(torch.float64)
            for name, numbers in self._numbers.items()
        }
        self.sums = {
            name: torch.zeros(len(values), n_features, dtype=torch.float64)
            for name, values in self.values.items()
        }
        self.total = torch.zeros(n_features, dtype=torch.float64)
        self.total_squared = torch.zeros(n_features, dtype=torch.float64)
        self._n_rows = 0

    def update(self, codes: Float[Tensor, "batch n_features"]) -> None:
        """Add the codes of the rows that follow those already added."""
        codes = codes.detach().to("cpu", torch.float64)
        rows = slice(self._n_rows, self._n_rows + len(codes))
        self._n_rows += len(codes)
        self.total += codes.sum(0)
        self.total_squared += (codes * codes).sum(0)
        for name, numbers in self._numbers.items():
            self.sums[name].index_add_(0, numbers[rows], codes)

    def correlation_ratio(self, name: str) -> Float[Tensor, "n_features"]:
        """Share of the variance of each code that lies between the values of a label (η²).

        Returns
        -------
        float64, 0 to 1
            0 where the code never varies.
        """
        assert self._n_rows == int(self.counts[name].sum()), "some rows were never added"
        mean = self.total / self._n_rows
        whole = self.total_squared - self._n_rows * mean**2
        between = (self.sums[name] ** 2 / self.counts[name][:, None]).sum(
            0
        ) - self._n_rows * mean**2
        # Rounding leaves a little "variance" in a constant code.
        varies = whole > 1e-12 * self.total_squared.clamp_min(1e-300)
        return torch.where(varies, between / whole.clamp_min(1e-300), 0.0).clamp(0, 1)

    def top_value(self, name: str, latent: int) -> str:
        """Value of a label at which a latent's mean code is largest."""
        means = self.sums[name][:, latent] / self.counts[name]
        return self.values[name][int(means.argmax())]
