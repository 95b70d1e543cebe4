"""Mergeable sums of codes by the value of a label, and the correlation ratio they give."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.stats.active_codes import ActiveCodes


class LabelTable:
    """Which value of each label every row has, as numbers.

    Parameters
    ----------
    labels : dict of str to sequence of str, each of length n_rows
        Every label of every row; an empty value ("not shown") is a value like any other.
    """

    def __init__(self, labels: dict[str, Sequence[str]]) -> None:
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
        self.numbers: Int[Tensor, "n_rows n_labels"] = torch.stack(numbers, dim=1)
        """Position of each row's values on the common axis."""
        self.n_values = n_values
        """Length of the common axis."""
        self.counts: Float[Tensor, "n_values"] = torch.bincount(
            self.numbers.flatten(), minlength=n_values
        ).to(torch.float64)
        """Rows of each value."""

    def stretch(self, name: str) -> slice:
        """Where a label's values lie on the common axis."""
        start = 0
        for label, values in self.values.items():
            if label == name:
                return slice(start, start + len(values))
            start += len(values)
        raise KeyError(name)


class LabelSums:
    """Sums of the codes of one side, split by the values of each label.

    Parameters
    ----------
    table : LabelTable
        The labels of all rows.
    n_features : int
        Number of latents.
    """

    def __init__(self, table: LabelTable, n_features: int) -> None:
        self.table = table
        self.n_rows = 0
        self.sums: Float[Tensor, "n_values n_features"] = torch.zeros(
            n_features, table.n_values, dtype=torch.float64
        ).T
        # Latent by latent in memory, since a batch touches few of them.
        self.total: Float[Tensor, "n_features"] = torch.zeros(n_features, dtype=torch.float64)
        self.total_squared: Float[Tensor, "n_features"] = torch.zeros(
            n_features, dtype=torch.float64
        )

    def update(self, codes: Float[Tensor, "batch n_features"], rows: Int[Tensor, "batch"]) -> None:
        """Add the codes of the rows whose numbers are given."""
        self.add(codes.detach(), ActiveCodes.of(codes.detach()), rows)

    def add(
        self,
        codes: Float[Tensor, "batch n_features"],
        active: ActiveCodes,
        rows: Int[Tensor, "batch"],
    ) -> None:
        """Add codes of which it is known what is active."""
        self.n_rows += len(codes)
        self.total += active.sums()
        self.total_squared += active.sums(power=2)
        # One product for all labels is many times faster than a scattered sum for each.
        one_hot = torch.zeros(len(codes), len(self.sums), dtype=torch.float64)
        one_hot.scatter_(1, self.table.numbers[rows], 1.0)
        if active.are_few:
            self.sums.T.addmm_(active.by_latent(), one_hot)
        else:
            self.sums += one_hot.T @ codes.to("cpu", torch.float64)

    def merge(self, other: "LabelSums") -> "LabelSums":
        """Add the sums of other rows; return `self`."""
        self.n_rows += other.n_rows
        self.sums = self.sums + other.sums
        self.total = self.total + other.total
        self.total_squared = self.total_squared + other.total_squared
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The sums as plain tensors."""
        return {
            "n_rows": torch.tensor(self.n_rows),
            "sums": self.sums,
            "total": self.total,
            "total_squared": self.total_squared,
        }

    def correlation_ratio(self, name: str) -> Float[Tensor, "n_features"]:
        """Share of the variance of each code that lies between the values of a label (η²).

        Returns
        -------
        float64, 0 to 1
            0 where the code never varies.
        """
        assert self.n_rows == len(self.table.numbers), "some rows were never added"
        stretch = self.table.stretch(name)
        mean = self.total / self.n_rows
        whole = self.total_squared - self.n_rows * mean**2
        between = (self.sums[stretch] ** 2 / self.table.counts[stretch][:, None]).sum(
            0
        ) - self.n_rows * mean**2
        # Rounding leaves a little "variance" in a constant code.
        varies = whole > 1e-12 * self.total_squared.clamp_min(1e-300)
        return torch.where(varies, between / whole.clamp_min(1e-300), 0.0).clamp(0, 1)

    def top_value(self, name: str, latent: int) -> str:
        """Value of a label at which a latent's mean code is largest."""
        stretch = self.table.stretch(name)
        means = self.sums[stretch, latent] / self.table.counts[stretch]
        return self.table.values[name][int(means.argmax())]
