"""BatchTopK over a batch of which each process of a training has a part.

BatchTopK keeps the ``k * n_rows`` largest codes of a whole batch, whichever rows they are in. Where
processes have rows each, how many of them a process keeps depends on all others: each sends its
largest, and all find the same cut.
"""

from dataclasses import replace

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from sae_lens import BatchTopKTrainingSAE
from sae_lens.saes.batchtopk_sae import BatchTopK
from torch import Tensor

from mm_sae_plugin.saes.sparse.codes import SparseCodes, codes_of_positions


class GlobalBatchTopK(BatchTopK):
    """SAELens' ``BatchTopK`` over the rows of all processes, of which each has equally many.

    Only while training: an evaluation is one process' own affair.
    """

    def forward(self, x: Float[Tensor, "n_rows d_sae"]) -> Float[Tensor, "n_rows d_sae"]:
        """Return the ``k * n_rows * n_processes`` largest of all processes; all others are 0."""
        if not self.training:
            return super().forward(x)
        flat = x.relu().flatten()
        n_kept = self.n_kept(len(x))
        positions = flat.detach().topk(min(n_kept, len(flat))).indices
        largest = flat[positions]
        largest = largest * self.is_kept(largest.detach(), n_kept)
        return torch.zeros_like(flat).scatter(-1, positions, largest).view_as(x)

    def n_kept(self, n_rows: int) -> int:
        """Return how many codes all processes keep together, if each has ``n_rows`` rows."""
        return int(self.k * n_rows * dist.get_world_size())

    def is_kept(self, largest: Float[Tensor, "n"], n_kept: int) -> Bool[Tensor, "n"]:
        """Return which of one's own largest codes are among the largest of all.

        Parameters
        ----------
        largest : Float[Tensor, "n"]
            The ``n_kept`` largest of this process, or all if there are fewer, in falling order;
            as many in every process.
        n_kept : int
            How many codes all processes keep together. Equal ones at the cut are kept from lower
            ranks first.
        """
        # Exact, and known to every backend.
        wide = torch.promote_types(largest.dtype, torch.float32)
        own = largest.to(wide).contiguous()
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, own)
        return among_largest(torch.stack(gathered), dist.get_rank(), n_kept)

    def kept_codes(self, codes: SparseCodes, n_kept: int) -> SparseCodes:
        """Return which of one's own codes are among the largest of all.

        Parameters
        ----------
        codes : SparseCodes
            The positive ones among the ``n_kept`` largest of this process.
        n_kept : int
            How many codes all processes keep together.
        """
        values, order = codes.values.sort(descending=True)
        n_sent = min(n_kept, codes.n_rows * codes.d_sae)
        sent = torch.cat([values, values.new_zeros(n_sent - len(values))])
        is_kept = torch.zeros_like(order, dtype=torch.bool)
        is_kept[order] = self.is_kept(sent, n_kept)[: len(values)]
        if codes.values.device.type != "cpu":
            # The host would have to wait to know how many there are.
            return replace(codes, values=codes.values * is_kept)
        positions = codes.rows() * codes.d_sae + codes.latents
        return codes_of_positions(
            positions[is_kept], codes.values[is_kept], codes.n_rows, codes.d_sae
        )


def among_largest(
    everyones: Float[Tensor, "n_processes n"], rank: int, n_kept: int
) -> Bool[Tensor, "n"]:
    """Return which values of a process are among the ``n_kept`` largest of all processes.

    Parameters
    ----------
    everyones : Float[Tensor, "n_processes n"]
        Each process' values in falling order.
    rank : int
        Whose values are asked for.
    n_kept : int
        How many are kept in all. Equal ones at the cut are kept from lower ranks first.
    """
    if n_kept == 0:
        return torch.zeros_like(everyones[rank], dtype=torch.bool)
    cut = everyones.flatten().topk(n_kept).values[-1]
    n_above, n_equal = (everyones > cut).sum(dim=1), (everyones == cut).sum(dim=1)
    n_left = n_kept - n_above.sum() - n_equal[:rank].sum()
    n_own = n_above[rank] + torch.minimum(n_left.clamp(min=0), n_equal[rank])
    return torch.arange(everyones.shape[1], device=cut.device) < n_own


@torch.no_grad()
def move_threshold(
    sae: BatchTopKTrainingSAE,
    before: Float[Tensor, ""],
    codes: Float[Tensor, "n_rows d_sae"],
) -> None:
    """Let a BatchTopK SAE's threshold follow the smallest positive code of all processes.

    Parameters
    ----------
    sae : BatchTopKTrainingSAE
        After a step that has moved it by this process' codes alone.
    before : Float[Tensor, ""]
        The threshold before that step.
    codes : Float[Tensor, "n_rows d_sae"]
        This process' codes, dense or sparse.
    """
    values = codes.coalesce().values() if codes.is_sparse else codes
    positive = torch.where(values > 0, values, torch.inf).to(before.dtype)
    smallest = positive.min() if positive.numel() else torch.full_like(before, torch.inf)
    dist.all_reduce(smallest, dist.ReduceOp.MIN)
    rate = sae.cfg.topk_threshold_lr
    moved = (1 - rate) * before + rate * smallest
    sae.topk_threshold = torch.where(smallest.isfinite(), moved, before)
