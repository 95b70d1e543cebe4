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
        numbers, n_values = [], 0
        for name, rows in labels.items():
            values, number = np.unique(
                np.asarray(rows, dtype=object).astype(str), return_inverse=True
            )
            self.values[name] = values.tolist()
            # The values of all labels share one axis, each label a stretch of it.
            numbers.append(torch.from_numpy(number.astype(np.int64)) + n_values)
            n_values += len(values)
        self._numbers = torch.stack(numbers, dim=1)
        sizes = [len(values) for values in self.values.values()]
        counts = torch.bincount(self._numbers.flatten(), minlength=n_values).to(torch.float64)
        self._sums = torch.zeros(n_values, n_features, dtype=torch.float64)
        self.counts = dict(zip(self.values, counts.split(sizes), strict=True))
        # Views: what is added to the whole is seen in the parts.
        self.sums = dict(zip(self.values, self._sums.split(sizes), strict=True))
        self.total = torch.zeros(n_features, dtype=torch.float64)
        self.total_squared = torch.zeros(n_features, dtype=torch.float64)
        self._n_rows = 0

    def update(self, codes: Float[Tensor, "batch n_features"]) -> None:
        """Add the codes of the rows that follow those already added."""
        codes = codes.detach().to("cpu", torch.float64)
        numbers = self._numbers[self._n_rows : self._n_rows + len(codes)]
        self._n_rows += len(codes)
        self.total += codes.sum(0)
        self.total_squared += (codes * codes).sum(0)
        # One product for all labels is many times faster than a scattered sum for each.
        one_hot = torch.zeros(len(codes), len(self._sums), dtype=torch.float64)
        self._sums += one_hot.scatter_(1, numbers, 1.0).T @ codes

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
