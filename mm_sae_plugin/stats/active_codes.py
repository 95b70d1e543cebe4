"""What is active in a batch of codes: found once, and summed by many."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.features.active import MOST_ACTIVE, active_positions
from mm_sae_plugin.saes.sparse.decode import weighted_sums

# Numbers that are added up at a time, 2 MB, so that they stay in the processor's cache.
_BLOCK_ELEMENTS = 2**18


@dataclass(frozen=True)
class ActiveCodes:
    """The codes of a batch that are not 0, row by row."""

    n_rows: int
    """Rows of the batch."""
    n_features: int
    """Width of the codes."""
    rows: Int[Tensor, "entries"]
    """Row of each entry, ascending."""
    latents: Int[Tensor, "entries"]
    """Its latent, ascending within a row."""
    values: Float[Tensor, "entries"]
    """Its code."""

    @classmethod
    def of(cls, codes: Float[Tensor, "batch n_features"]) -> "ActiveCodes":
        """Find what is active."""
        # Apple's GPUs know no float64, in which everything is summed.
        codes = codes.cpu() if codes.device.type == "mps" else codes
        n_rows, n_features = codes.shape
        positions = active_positions(codes)
        rows = torch.div(positions, max(n_features, 1), rounding_mode="floor")
        latents = positions - rows * n_features
        return cls(n_rows, n_features, rows, latents, codes.flatten()[positions])

    @classmethod
    def joined(cls, batches: "list[ActiveCodes]") -> "ActiveCodes":
        """Put batches of the same width one below the other."""
        rows, n_rows = [], 0
        for batch in batches:
            rows.append(batch.rows + n_rows)
            n_rows += batch.n_rows
        return cls(
            n_rows,
            batches[0].n_features,
            torch.cat(rows),
            torch.cat([batch.latents for batch in batches]),
            torch.cat([batch.values for batch in batches]),
        )

    @property
    def are_few(self) -> bool:
        """Whether it pays to add up entry by entry."""
        return len(self.rows) <= MOST_ACTIVE * self.n_rows * self.n_features

    def of_rows(self, wanted: Bool[Tensor, "n_rows"]) -> "ActiveCodes":
        """Keep the entries of some rows; rows keep their numbers."""
        return self._kept(wanted.to(self.rows.device)[self.rows])

    def of_none(self) -> "ActiveCodes":
        """Keep no entry."""
        return self._kept(slice(0))

    def _kept(self, kept: Bool[Tensor, "entries"] | slice) -> "ActiveCodes":
        return replace(
            self, rows=self.rows[kept], latents=self.latents[kept], values=self.values[kept]
        )

    def by_latent(self) -> "EntriesByLatent":
        """Sort the entries by latent, those of a latent by row."""
        latents, order = self.latents.sort(stable=True)
        numbers = torch.arange(self.n_features + 1, device=latents.device)
        starts = torch.searchsorted(latents, numbers)
        return EntriesByLatent(starts, self.rows[order], self.values[order].double())

    def sums(self, power: int = 1) -> Float[Tensor, "n_features"]:
        """Sum a power of each latent's codes, in float64 on the CPU."""
        # There the additions have an order, and the entries are few.
        values = self.values.to("cpu", torch.float64) ** power
        sums = torch.bincount(self.latents.cpu(), values, minlength=self.n_features)
        # Of nothing, torch counts in integers.
        return sums.to(torch.float64)


@dataclass(frozen=True)
class EntriesByLatent:
    """The entries of `ActiveCodes`, latent by latent."""

    starts: Int[Tensor, "n_features_plus_1"]
    """Where the entries of each latent begin, and the end."""
    rows: Int[Tensor, "entries"]
    """Row of each entry in the batch."""
    values: Float[Tensor, "entries"]
    """Its code, in float64."""

    def add_products(
        self, total: Float[Tensor, "n_features d"], table: Float[Tensor, "n_rows d"]
    ) -> None:
        """Add to `total` the sum over rows of the codes times a table, in float64 on the CPU."""
        table = table.to(self.rows.device, torch.float64)
        size = max(1, _BLOCK_ELEMENTS // table.shape[1])
        for start in range(0, len(total), size):
            starts = self.starts[start : start + size + 1]
            first, last = int(starts[0]), int(starts[-1])
            mine = slice(first, last)
            sums = weighted_sums(self.rows[mine], table, starts - first, self.values[mine])
            total[start : start + size] += sums.cpu()
