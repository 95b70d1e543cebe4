"""Encoding captions no further than where the model reads them, if that changes no bit."""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP

Encode = Callable[[Int[Tensor, "captions ctx"]], list[Float[Tensor, "captions _"]]]
"""Runs the text tower and returns the rows of every hook."""

# Captions that are encoded together. Their number decides which kernels run, so it is always this.
_CAPTIONS = 64
# Sums over tokens are taken in lanes, as many as a processor's registers hold: of such a number,
# the lanes that are left out hold zeros. The smaller is tried first.
_LANES = (8, 16)


class ShortCaptions:
    """Encodes captions sorted by length, each group as long as its longest.

    A CLIP pads captions to its context, 77 tokens for a dozen words, and reads each behind its last
    word, to which no padding speaks. What is left out is therefore multiplied by zero, and whether
    a processor's kernels come to the same bits without it is seen by trying: the first group of
    each length is encoded both ways, and what differs anywhere is encoded whole ever after. On
    accelerators, where groups are better large, captions are encoded whole.

    Parameters
    ----------
    model
        Whose captions they are; it says how much of a caption is read.
    encode
        Runs its text tower.
    """

    def __init__(self, model: "HookedCLIP", encode: Encode) -> None:
        self._model = model
        self._encode = encode
        self._is_same: dict[int, bool] = {}

    def rows(self, tokens: Int[Tensor, "captions ctx"]) -> list[Float[Tensor, "captions _"]]:
        """Encode captions; the rows of each hook come in their order.

        Parameters
        ----------
        tokens : int64
            On the model's device, padded to its context.
        """
        n_groups = len(tokens) // _CAPTIONS
        n_read = self._n_read(tokens) if n_groups else None
        if n_read is None:
            return self._encode(tokens)
        order = n_read.argsort(stable=True)
        # The last group, which is the longest, takes what is left over.
        borders = [*range(0, n_groups * _CAPTIONS, _CAPTIONS), len(tokens)]
        groups = [order[start:stop] for start, stop in pairwise(borders)]
        parts = [self._group(tokens[group], int(n_read[group[-1]])) for group in groups]
        back = order.argsort()
        return [torch.cat(rows)[back] for rows in zip(*parts, strict=True)]

    def _n_read(self, tokens: Int[Tensor, "captions ctx"]) -> Int[Tensor, "captions"] | None:
        if tokens.device.type != "cpu":
            return None
        return self._model.family.n_read_tokens(self._model.clip, tokens)

    def _group(
        self, tokens: Int[Tensor, "captions ctx"], n_read: int
    ) -> list[Float[Tensor, "captions _"]]:
        length = self._length(n_read, tokens.shape[1])
        if length is None or len(tokens) != _CAPTIONS:
            return self._encode(tokens)
        with self._model.family.of_fewer_tokens(self._model.clip, length):
            short = self._encode(tokens[:, :length])
        if length not in self._is_same:
            whole = self._encode(tokens)
            same = [torch.equal(a, b) for a, b in zip(short, whole, strict=True)]
            self._is_same[length] = all(same)
            return whole
        return short

    def _length(self, n_read: int, context: int) -> int | None:
        """Return how many tokens are enough as far as is known, if that is fewer than all."""
        lengths = (-(-n_read // lanes) * lanes for lanes in _LANES)
        return next((n for n in lengths if n < context and self._is_same.get(n, True)), None)
