"""Encoding densely on the CPU and keeping only what TopK or BatchTopK selects.

The pre-activations are made and searched one block of rows after another: a block stays in the
processor's cache, and the whole matrix, by far the largest tensor of a dense step, never exists.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.saes.sparse.codes import SparseCodes, codes_of_positions

# Pre-activations in a block: 16 MB of float32.
_BLOCK_ELEMENTS = 4_194_304
_MIN_BLOCK_ROWS = 256
# Columns that one group of the search for the largest stands for.
_GROUP = 8


def pre_activations(
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    scale: Float[Tensor, "d_sae"] | None,
) -> Float[Tensor, "batch d_sae"]:
    """Return ``(x @ W_enc + b_enc) * scale``, rounded as SAELens rounds it.

    Parameters
    ----------
    x : Float[Tensor, "batch d_in"]
        What is encoded, the decoder's bias subtracted.
    W_enc, b_enc : Tensor
        The encoder.
    scale : Float[Tensor, "d_sae"], optional
        Norms of the decoder's rows, where pre-activations are rescaled by them.
    """
    hidden = x @ W_enc
    # Under autocast the product has another dtype than the bias and cannot take it in place.
    hidden = hidden.add_(b_enc) if hidden.dtype == b_enc.dtype else hidden + b_enc
    return hidden if scale is None else hidden.mul_(scale)


def blocks_of_pre_activations(
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, "d_sae"],
    scale: Float[Tensor, "d_sae"] | None,
) -> Iterator[Float[Tensor, "n_rows d_sae"]]:
    """Yield :func:`pre_activations` of one block of rows after another."""
    n_rows = max(_MIN_BLOCK_ROWS, _BLOCK_ELEMENTS // W_enc.shape[1])
    for rows in x.split(n_rows):
        yield pre_activations(rows, W_enc, b_enc, scale)


def select_topk(blocks: Iterable[Float[Tensor, "n_rows d_sae"]], k: int, d_sae: int) -> SparseCodes:
    """Return the positive ones of the k largest pre-activations of each row.

    Where equal pre-activations compete for the last place, the choice is that of
    :func:`torch.topk`.
    """
    values, positions, n_rows = [], [], 0
    for hidden in blocks:
        found = _positions_of_top_k(hidden, k)
        values.append(hidden.flatten()[found])
        positions.append(found + n_rows * d_sae)
        n_rows += len(hidden)
    return codes_of_positions(torch.cat(positions), torch.cat(values), n_rows, d_sae)


def select_batchtopk(
    blocks: Iterable[Float[Tensor, "n_rows d_sae"]], n_kept: int, n_rows: int, d_sae: int
) -> SparseCodes:
    """Return the positive ones of the ``n_kept`` largest pre-activations of a whole batch.

    Which of several equal pre-activations at the cut are kept is arbitrary, as it is in
    :func:`torch.topk`.
    """
    values, positions = torch.empty(0), torch.empty(0, dtype=torch.long)
    n_seen, floor = 0, 0.0
    for hidden in blocks:
        flat = hidden.flatten()
        # Nothing below the smallest of a full pool can displace any of it.
        floor = max(floor, _lower_bound(flat[None], n_kept).item())
        found = _at_least(flat, floor)
        values = torch.cat([values.to(flat.dtype), flat[found]])
        positions = torch.cat([positions, found + n_seen])
        n_seen += len(flat)
        if len(values) > n_kept:
            values, kept = values.topk(n_kept, sorted=False)
            positions = positions[kept]
            floor = float(values.min()) if n_kept else torch.inf
    positions, order = positions.sort()
    return codes_of_positions(positions, values[order], n_rows, d_sae)


def _positions_of_top_k(hidden: Float[Tensor, "n_rows d_sae"], k: int) -> Int[Tensor, "n_entries"]:
    """Return where the positive ones of each row's k largest lie in the flattened block."""
    n_rows, d_sae = hidden.shape
    found = _at_least(hidden, _lower_bound(hidden, k))
    rows = found // d_sae
    n_found = rows.bincount(minlength=n_rows)
    width = int(n_found.max())
    if width <= k:
        return found
    # A few too many, since two of the largest can share a group. Each row's are set side by side.
    slots = torch.arange(len(found)) - (n_found.cumsum(0) - n_found)[rows]
    values = hidden.flatten()[found]
    side_by_side = values.new_zeros(n_rows, width).index_put_((rows, slots), values)
    last, next_ = side_by_side.topk(k + 1).values[:, -2:].unbind(1)
    is_kept = values >= last[rows]
    # Of equal ones any is a right choice; torch.topk's is taken, so that gradients agree.
    tied = ((last == next_) & (last > 0)).nonzero().flatten()
    if len(tied):
        choice = hidden[tied].topk(k, sorted=False).indices + tied[:, None] * d_sae
        is_kept &= ~torch.isin(rows, tied) | torch.isin(found, choice)
    return found[is_kept]


def _lower_bound(
    hidden: Float[Tensor, "n_rows n_columns"], k: int
) -> Float[np.ndarray, "n_rows 1"]:
    """Return a positive number that at least k entries of each row reach, if k are positive.

    It is the k-th largest maximum of groups of columns: k different groups reach it.
    """
    n_groups = hidden.shape[1] // _GROUP
    # The smallest positive number: what is not positive is cut off by the ReLU in any case.
    tiny = torch.finfo(hidden.dtype).tiny
    if not 0 < k <= n_groups:
        return np.full((len(hidden), 1), tiny, dtype=hidden.numpy().dtype)
    # Column c belongs to group c % n_groups, so that maxima are taken over whole vectors.
    grouped = hidden[:, : n_groups * _GROUP].unflatten(1, (_GROUP, n_groups))
    maxima = grouped.amax(dim=1).numpy()
    # NumPy's vectorised partition is several times as fast as torch.topk.
    maxima.partition(n_groups - k, axis=1)
    return np.maximum(maxima[:, n_groups - k, None], tiny)


def _at_least(
    hidden: Float[Tensor, "..."], floor: float | Float[np.ndarray, "n_rows 1"]
) -> Int[Tensor, "n_entries"]:
    """Return the ascending positions, in the flattened tensor, of the entries >= floor."""
    # NumPy finds the rare ones several times as fast as torch.nonzero.
    return torch.from_numpy(np.flatnonzero(hidden.numpy() >= floor))
