"""What is active in a batch of codes: found once, and summed by many."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.features.active import MOST_ACTIVE, active_positions
from mm_sae_plugin.saes.latent_order import latent_order


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
        return self.where(wanted.to(self.rows.device)[self.rows])

    def of_none(self) -> "ActiveCodes":
        """Keep no entry."""
        return self.where(slice(0))

    def where(self, kept: Bool[Tensor, "entries"] | slice) -> "ActiveCodes":
        """Keep some entries."""
        return replace(
            self, rows=self.rows[kept], latents=self.latents[kept], values=self.values[kept]
        )

    def by_latent(self) -> Float[Tensor, "n_features n_rows"]:
        """Return the codes as a sparse matrix with a row for each latent, in float64 on the CPU.

        There a product with it is added to a total entry by entry, and no other entry touched:
        ``total.addmm_(active.by_latent(), table)``.
        """
        latents = self.latents.cpu()
        order = latent_order(latents, self.n_features)
        return torch.sparse_coo_tensor(
            torch.stack([latents[order], self.rows.cpu()[order]]),
            self.values.cpu()[order].double(),
            (self.n_features, self.n_rows),
            check_invariants=False,
            is_coalesced=True,
        )

    def sums(self, power: int = 1) -> Float[Tensor, "n_features"]:
        """Sum a power of each latent's codes, in float64 on the CPU."""
        # There the additions have an order, and the entries are few.
        values = self.values.to("cpu", torch.float64) ** power
        sums = torch.bincount(self.latents.cpu(), values, minlength=self.n_features)
        # Of nothing, torch counts in integers.
        return sums.to(torch.float64)
