"""Sums of products of activations and codes, taken over what is active alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.saes.sparse.decode import weighted_sums

# Above this share of active codes a dense product is the quicker one.
_MOST_ACTIVE = 0.1


@dataclass(frozen=True)
class ActiveCodes:
    """The codes of a batch that are not 0, latent by latent."""

    latents: Int[Tensor, "n_present"]
    """Latents that fire at all, ascending."""
    starts: Int[Tensor, "n_present_plus_1"]
    """Where the entries of each begin, and the end."""
    rows: Int[Tensor, "entries"]
    """Row of each entry in the batch."""
    values: Float[Tensor, "entries"]
    """Its code."""

    @classmethod
    def of(cls, codes: Float[Tensor, "batch n_features"]) -> "ActiveCodes | None":
        """Find them; None where so many are active that it does not pay."""
        rows, latents = codes.nonzero(as_tuple=True)
        if len(rows) > _MOST_ACTIVE * codes.numel():
            return None
        values = codes[rows, latents]
        latents, order = latents.sort(stable=True)
        present, lengths = latents.unique_consecutive(return_counts=True)
        starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        return cls(present, starts, rows[order], values[order])

    def products(self, acts: Float[Tensor, "batch d"]) -> Float[Tensor, "n_present d"]:
        """Sum activations times codes over the batch, for each latent that is present."""
        return weighted_sums(self.rows, acts, self.starts, self.values)


def add_products(
    total: Float[Tensor, "d n_features"],
    acts: Float[Tensor, "batch d"],
    codes: Float[Tensor, "batch n_features"],
    active: ActiveCodes | None,
) -> None:
    """Add ``acts.T @ codes`` to a total.

    Parameters
    ----------
    total : float64, on the CPU
        Best laid out latent by latent (a transposed view), since few latents are touched.
    acts : float32
    codes : float32
        On the device of `acts`.
    active : ActiveCodes, optional
        What `ActiveCodes.of` found in `codes`.
    """
    if active is None:
        total += (acts.T @ codes).cpu()
    elif len(active.latents):
        total.T.index_add_(0, active.latents.cpu(), active.products(acts).cpu().to(total.dtype))
