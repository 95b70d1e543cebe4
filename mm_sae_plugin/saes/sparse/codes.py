"""Codes of which only the active entries are kept: what sparse training passes around."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class SparseCodes:
    """Codes of a batch in compressed row form.

    Entries of value 0 are allowed and count as inactive.
    """

    row_starts: Int[Tensor, "n_rows_plus_1"]
    """Entries ``row_starts[i]:row_starts[i + 1]`` belong to row i."""
    latents: Int[Tensor, "n_entries"]
    """Latent of each entry; each at most once in a row."""
    values: Float[Tensor, "n_entries"]
    """Activation of each entry."""
    d_sae: int
    """Width of the codes."""

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self.row_starts) - 1

    def rows(self) -> Int[Tensor, "n_entries"]:
        """Return the row of each entry."""
        n_entries = self.row_starts.diff()
        rows = torch.arange(self.n_rows, device=self.latents.device)
        # Told the size of its result, it need not ask the device for it.
        return rows.repeat_interleave(n_entries, output_size=len(self.latents))

    def to_coo(self) -> Float[Tensor, "n_rows d_sae"]:
        """Return a sparse COO tensor, as SAELens' own sparse TopK makes them."""
        return torch.sparse_coo_tensor(
            torch.stack([self.rows(), self.latents]),
            self.values,
            (self.n_rows, self.d_sae),
            check_invariants=False,
        )

    def to_dense(self) -> Float[Tensor, "n_rows d_sae"]:
        """Return the codes with all their zeros."""
        dense = self.values.new_zeros(self.n_rows * self.d_sae)
        dense[self.rows() * self.d_sae + self.latents] = self.values
        return dense.view(self.n_rows, self.d_sae)


def codes_of_equal_rows(
    latents: Int[Tensor, "n_rows k"], values: Float[Tensor, "n_rows k"], d_sae: int
) -> SparseCodes:
    """Return the codes of rows that have equally many entries."""
    n_rows, k = latents.shape
    row_starts = torch.arange(0, (n_rows + 1) * k, k, device=latents.device)
    return SparseCodes(row_starts, latents.flatten(), values.flatten(), d_sae)


def codes_of_positions(
    positions: Int[Tensor, "n_entries"],
    values: Float[Tensor, "n_entries"],
    n_rows: int,
    d_sae: int,
) -> SparseCodes:
    """Return the codes of entries given by their ascending positions in the flattened codes."""
    boundaries = torch.arange(n_rows + 1, device=positions.device) * d_sae
    row_starts = torch.searchsorted(positions, boundaries)
    return SparseCodes(row_starts, positions % d_sae, values, d_sae)
