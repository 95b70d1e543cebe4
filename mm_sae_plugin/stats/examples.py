"""The pairs on which each latent is strongest, on each side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.engines import Engine
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.saes.latent_order import latent_order
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.interfaces import CodedPairs, PairedActivations, state_of_sides
from mm_sae_plugin.stats.passes import Reading, run_pass

# Entries that wait at least before they are sorted in.
_MIN_WAITING = 2**16


@dataclass(frozen=True)
class TopExamples:
    """Rows of the store, best first; where fewer rows fire, the value is 0."""

    latents: list[int]
    """The latents asked for, in that order."""
    image_rows: Int[Tensor, "n_latents n_top"]
    """Rows among the store's distinct images."""
    image_values: Float[Tensor, "n_latents n_top"]
    """Their codes."""
    text_rows: Int[Tensor, "n_latents n_top"]
    """Rows among the store's captions."""
    text_values: Float[Tensor, "n_latents n_top"]
    """Their codes."""


Rank = Callable[[Float[Tensor, "entries"], Int[Tensor, "entries"]], Tensor]
"""Codes and their rows -> what is kept first: the largest of what it returns."""


def strongest(values: Float[Tensor, "entries"], rows: Int[Tensor, "entries"]) -> Tensor:
    """Rank by the code itself."""
    return values


class TopRows:
    """The rows with the largest codes of every latent; of equals, those that come first.

    Parameters
    ----------
    n_top : int
        Rows to keep for each latent, at least 1.
    rank : callable
        By what rows are kept, the code by default; a function of code and row.
    """

    def __init__(self, n_top: int, rank: Rank = strongest) -> None:
        self.n_top = n_top
        self.rank = rank
        # Only what fires is kept, as (latent, row, value), sorted by latent, then from the top.
        self._kept = (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
        self._values = torch.zeros(0)
        # Sorting is worth its while only once there is as much to sort in as was kept before.
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._n_waiting = 0

    @torch.no_grad()
    def update(self, codes: Float[Tensor, "batch n_features"], rows: Int[Tensor, "batch"]) -> None:
        """Add codes, >= 0, of the rows whose numbers are given."""
        self.update_active(ActiveCodes.of(codes), rows)

    def update_active(self, active: ActiveCodes, rows: Int[Tensor, "n_rows"]) -> None:
        """Add what is active in a batch; `rows` are the numbers of all its rows."""
        fires = active.values > 0
        row, latent = active.rows[fires].cpu(), active.latents[fires].cpu()
        self.add(latent, rows[row], active.values[fires].to("cpu", torch.float32))

    def add(
        self,
        latents: Int[Tensor, "entries"],
        rows: Int[Tensor, "entries"],
        values: Float[Tensor, "entries"],
    ) -> None:
        """Add codes above 0 one by one, each with its latent and its row."""
        self._waiting.append((latents, rows, values))
        self._n_waiting += len(latents)
        if self._n_waiting > max(2 * len(self._values), _MIN_WAITING):
            self._sort_in()

    def merge(self, other: "TopRows") -> "TopRows":
        """Add what another has seen of later rows; return `self`."""
        if len(other._values):
            self.add(*other._kept, other._values)
        for entries in other._waiting:
            self.add(*entries)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Everything kept, as three tensors of equal length."""
        self._sort_in()
        latent, row = self._kept
        return {"latent": latent, "row": row, "value": self._values}

    def of(self, latents: Sequence[int]) -> tuple[Int[Tensor, "n n_top"], Float[Tensor, "n n_top"]]:
        """Rows and codes of some latents, best first; row 0 and value 0 where fewer fire."""
        self._sort_in()
        (latent, row), value = self._kept, self._values
        rows = torch.zeros(len(latents), self.n_top, dtype=torch.int64)
        values = torch.zeros(len(latents), self.n_top)
        asked = torch.tensor(list(latents), dtype=torch.int64)
        starts = torch.searchsorted(latent, asked).tolist()
        stops = torch.searchsorted(latent, asked, right=True).tolist()
        for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            rows[number, : stop - start] = row[start:stop]
            values[number, : stop - start] = value[start:stop]
        return rows, values

    def _sort_in(self) -> None:
        if not self._waiting:
            return
        parts = [(*self._kept, self._values), *self._waiting]
        latent, row, value = (torch.cat(column) for column in zip(*parts, strict=True))
        # Two stable sorts: by rank, then by latent. Equals stay in the order they came in.
        order = self.rank(value, row).argsort(descending=True, stable=True)
        n_latents = int(latent.max()) + 1 if len(latent) else 0
        order = order[latent_order(latent[order], n_latents)]
        latent, row, value = latent[order], row[order], value[order]
        _, lengths = latent.unique_consecutive(return_counts=True)
        starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        kept = torch.arange(len(latent)) - starts < self.n_top
        self._kept, self._values = (latent[kept], row[kept]), value[kept]
        self._waiting, self._n_waiting = [], 0


class ExampleRows:
    """The best distinct images and the best distinct captions of every latent.

    Parameters
    ----------
    n_top : int
        Examples per latent and side.
    first_of_caption : Bool[Tensor, "n_pairs"]
        Which pairs compete with their caption; see :func:`first_of_caption`.
    """

    def __init__(self, n_top: int, first_of_caption: Bool[Tensor, "n_pairs"]) -> None:
        self.image, self.text = TopRows(n_top), TopRows(n_top)
        self._first_of_caption = first_of_caption

    @classmethod
    def of(cls, store: PairedActivations, n_top: int = 6) -> "ExampleRows":
        """An empty accumulator for a store."""
        return cls(n_top, first_of_caption(store.captions))

    def empty(self) -> "ExampleRows":
        """An accumulator for the same store that has seen nothing."""
        return ExampleRows(self.image.n_top, self._first_of_caption)

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        rows = pairs.rows
        new = rows.first_of_image
        self.image.update_active(pairs.active["image"].of_rows(new), rows.image_index)
        new = self._first_of_caption[rows.pair_index]
        self.text.update_active(pairs.active["text"].of_rows(new), rows.pair_index)

    def merge(self, other: "ExampleRows") -> "ExampleRows":
        """Add what another has seen of later pairs; return `self`."""
        self.image.merge(other.image)
        self.text.merge(other.text)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Everything kept."""
        return state_of_sides({"image": self.image, "text": self.text})

    def examples(self, latents: Sequence[int]) -> TopExamples:
        """The examples of some latents."""
        return TopExamples(list(latents), *self.image.of(latents), *self.text.of(latents))


def first_of_caption(captions: Sequence[str]) -> Bool[Tensor, "n_pairs"]:
    """Mark the first pair of each caption.

    Captions repeat (a template world says the same thing twice); each is shown once.
    """
    seen: set[str] = set()
    marks = []
    for caption in captions:
        marks.append(caption not in seen)
        seen.add(caption)
    return torch.tensor(marks, dtype=torch.bool)


def top_examples(
    feature_map: FeatureMap,
    store: PairedActivations,
    latents: Sequence[int],
    n_top: int = 6,
    engine: Engine | None = None,
) -> TopExamples:
    """Find the images and the captions that drive each latent most.

    Parameters
    ----------
    feature_map, store
        What is encoded.
    latents : sequence of int
        Which latents; may be empty.
    n_top : int
        Examples per latent and side; identical captions are shown once.
    engine : Engine, optional
        Where the pass runs.
    """
    reading = Reading(feature_map, {"examples": ExampleRows.of(store, n_top)})
    (taken,) = run_pass(store, [reading], engine)
    examples = taken["examples"]
    assert isinstance(examples, ExampleRows)
    return examples.examples(latents)
