"""What was active in one pass, kept so that a second one need not encode again."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.interfaces import CodedPairs, PairRows

# Pairs that are packed together. Kept one batch at a time, they would break up the memory that
# batches need.
_ROWS = 4096


class _Side(NamedTuple):
    """One modality's active codes, on the CPU."""

    ends: Int[Tensor, "n_rows_and_one"]
    """int64: where each row's entries begin, and the last one's end."""
    latents: Int[Tensor, "entries"]
    """int32."""
    values: Float[Tensor, "entries"]
    device: torch.device
    """Where they were encoded, and are wanted again."""


@dataclass(frozen=True)
class _Pack:
    """Batches that followed each other in a pass."""

    pair_index: Int[Tensor, "n_rows"]
    sides: dict[Modality, _Side]
    starts: list[int]
    """The row in which each batch begins."""

    @property
    def n_bytes(self) -> int:
        tensors = [self.pair_index]
        for side in self.sides.values():
            tensors += [side.ends, side.latents, side.values]
        return sum(tensor.nbytes for tensor in tensors)


class _Batch(NamedTuple):
    """Rows that are still to be packed."""

    pair_index: Int[Tensor, "batch"]
    active: dict[Modality, ActiveCodes]


class KnownCodes:
    """What is active in some pairs of a store; only reads, so threads may share it."""

    def __init__(self, n_features: int, packs: list[_Pack]) -> None:
        self.n_features = n_features
        self._places = {
            int(pack.pair_index[start]): (pack, start) for pack in packs for start in pack.starts
        }

    def active_of(self, rows: PairRows) -> dict[Modality, ActiveCodes] | None:
        """What is active in a batch, by modality; None where it is not known.

        Known are batches that begin at the same pair as one of the first pass.
        """
        place = self._places.get(int(rows.pair_index[0]))
        if place is None:
            return None
        pack, start = place
        stop = start + len(rows.pair_index)
        if not torch.equal(pack.pair_index[start:stop], rows.pair_index):
            return None
        return {
            modality: _unpacked(side, self.n_features, start, stop)
            for modality, side in pack.sides.items()
        }


class KeptCodes:
    """An accumulator of what is active, of as many pairs as there is memory for.

    Parameters
    ----------
    n_features : int
        Width of the codes.
    most_bytes : int
        What is kept takes no more than this, besides the pairs that are being packed. Pairs for
        which there is no room are left out, and so are batches of which much is active.
    """

    def __init__(self, n_features: int, most_bytes: int) -> None:
        self.n_features, self.most_bytes = n_features, most_bytes
        self._packs: list[_Pack] = []
        self._waiting: list[_Batch] = []
        self._is_full = False

    def empty(self) -> "KeptCodes":
        """An accumulator of the same kind that has seen nothing."""
        return KeptCodes(self.n_features, self.most_bytes)

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Keep a batch of a pass, if there is room."""
        if self._is_full or not all(active.are_few for active in pairs.active.values()):
            return
        self._waiting.append(_Batch(pairs.rows.pair_index, pairs.active))
        if sum(len(batch.pair_index) for batch in self._waiting) >= _ROWS:
            self._settle()

    def _settle(self) -> None:
        """Pack what has waited."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        sizes = torch.tensor([0] + [len(batch.pair_index) for batch in waiting[:-1]])
        pack = _Pack(
            torch.cat([batch.pair_index for batch in waiting]),
            {m: _packed(ActiveCodes.joined([b.active[m] for b in waiting])) for m in MODALITIES},
            sizes.cumsum(0).tolist(),
        )
        self._add(pack)

    def _add(self, pack: _Pack) -> None:
        n_bytes = sum(kept.n_bytes for kept in self._packs) + pack.n_bytes
        # Once one finds no room, none that follows is kept, however small.
        self._is_full = self._is_full or n_bytes > self.most_bytes
        if not self._is_full:
            self._packs.append(pack)

    def known(self) -> KnownCodes:
        """What has been kept, to be looked up."""
        self._settle()
        return KnownCodes(self.n_features, self._packs)

    def merge(self, other: "KeptCodes") -> "KeptCodes":
        """Keep what another has kept of the pairs that follow these; return `self`."""
        self._settle()
        other._settle()
        for pack in other._packs:
            self._add(pack)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The kept pairs and what is active in them, as plain tensors."""
        self._settle()
        state = {}
        for number, pack in enumerate(self._packs):
            state[f"{number}.pair_index"] = pack.pair_index
            for modality, side in pack.sides.items():
                state[f"{number}.{modality}.ends"] = side.ends
                state[f"{number}.{modality}.latents"] = side.latents
                state[f"{number}.{modality}.values"] = side.values
        return state


def _packed(active: ActiveCodes) -> _Side:
    ends = torch.zeros(active.n_rows + 1, dtype=torch.int64)
    ends[1:] = torch.bincount(active.rows, minlength=active.n_rows).cumsum(0)
    latents = active.latents.to("cpu", torch.int32)
    return _Side(ends, latents, active.values.cpu(), active.rows.device)


def _unpacked(side: _Side, n_features: int, start: int, stop: int) -> ActiveCodes:
    ends = side.ends[start : stop + 1]
    mine = slice(int(ends[0]), int(ends[-1]))
    rows = torch.repeat_interleave(torch.arange(stop - start), ends.diff())
    return ActiveCodes(
        stop - start,
        n_features,
        rows.to(side.device),
        side.latents[mine].to(side.device, torch.int64),
        side.values[mine].to(side.device),
    )
