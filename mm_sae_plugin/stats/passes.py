"""One pass over a store: every feature map encodes it once, and any number of sums are taken.

The pass is cut into parts of consecutive pairs. An engine runs the same task on each, which encodes
a part batch by batch, and the parts' sums are merged in manifest order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.activations.partitions import Partition
from mm_sae_plugin.engines import Engine, ThreadEngine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.dense import dense_codes
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats.interfaces import (
    Accumulator,
    ActivePairs,
    CodedPairs,
    PairedActivations,
    PairRows,
    Partitioned,
    Reconstruction,
)
from mm_sae_plugin.stats.kept_codes import KnownCodes
from mm_sae_plugin.stats.nulls import swap_mask

# Least pairs of one part; there are as many as latents at least, since sums as large as the
# dictionary are made and merged for each.
_LEAST_PART = 4096
# Codes of one batch; what is active in them is held some thirty times in float64.
_BATCH_ELEMENTS = 2**20


@dataclass(frozen=True)
class Reading:
    """One feature map's view of the store, and what is summed of it."""

    feature_map: FeatureMap
    """Encodes both modalities."""
    accumulators: Mapping[str, Accumulator]
    """Empty accumulators by a name of the caller's choice."""
    swap_seed: int | None = None
    """Exchange image and text codes of each image by a fair coin: the swap null."""
    known: KnownCodes | None = None
    """What an earlier pass kept of the same feature map's codes, which are then not encoded again;
    only for accumulators that take ``ActivePairs``."""


@dataclass(frozen=True)
class PassTask:
    """What is done with each part; pickles."""

    readings: tuple[Reading, ...] = field(default=())
    """In the order of the results."""

    @torch.no_grad()
    def __call__(self, part: PairRows | Partition) -> list[dict[str, Accumulator]]:
        """Return fresh accumulators that have seen the part, for each reading."""
        results = [
            {name: seed.empty() for name, seed in reading.accumulators.items()}
            for reading in self.readings
        ]
        for rows in _batches(part, self.batch_size):
            for reading, taken in zip(self.readings, results, strict=True):
                pairs: Any = _known(reading, rows) or _coded(reading, rows)
                for accumulator in taken.values():
                    accumulator.update_pairs(pairs)
        return results

    @property
    def batch_size(self) -> int:
        """Pairs that are encoded at a time."""
        widest = max(reading.feature_map.n_features for reading in self.readings)
        return max(_BATCH_ELEMENTS // widest, 256)


def run_pass(
    store: PairedActivations,
    readings: Sequence[Reading],
    engine: Engine | None = None,
    part_size: int | None = None,
    progress: bool = False,
) -> list[dict[str, Accumulator]]:
    """Read a store once.

    Parameters
    ----------
    store : PairedActivations
        Paired activations, raw.
    readings : sequence of Reading
        At least one.
    engine : Engine, optional
        Where the parts are computed; one thread by default.
    part_size : int, optional
        Pairs per part; by default as many as latents, and at least 4,096. It fixes the order of
        additions.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of dict
        The accumulators of each reading, filled.

    Raises
    ------
    UserError
        If the store holds no pairs.
    """
    from tqdm import tqdm

    assert readings
    widest = max(one.feature_map.n_features for one in readings)
    size = pairs_of_part(widest) if part_size is None else part_size
    n_pairs = len(store.image_index)
    if n_pairs == 0:
        raise UserError("The store holds no image–caption pairs, so there is nothing to score.")
    task = PassTask(tuple(readings))
    with tqdm(total=n_pairs, desc="modality", unit="pair", disable=not progress) as bar:
        # A store on disk is read by whoever takes the sums: a part is a path and two numbers.
        parts = (
            store.partitions(size) if isinstance(store, Partitioned) else pair_parts(store, size)
        )
        results_of_parts = iter((engine or ThreadEngine()).map(task, parts))
        # The sums of the first part are those that the others are added to.
        totals = next(results_of_parts)
        bar.update(min(size, n_pairs))
        for number, results in enumerate(results_of_parts, start=1):
            for total, part in zip(totals, results, strict=True):
                for name, accumulator in part.items():
                    total[name].merge(accumulator)
            bar.update(min(size, n_pairs - number * size))
    return totals


def pairs_of_part(n_features: int) -> int:
    """Pairs that are summed up by themselves, and then merged."""
    return max(_LEAST_PART, n_features)


def pair_parts(store: PairedActivations, size: int) -> Iterator[PairRows]:
    """Yield the pairs of a store, `size` at a time, with the captions of each image together."""
    image_index = torch.as_tensor(store.image_index)
    n_runs = len(torch.unique_consecutive(image_index))
    together = n_runs == len(torch.unique(image_index))
    order = torch.arange(len(image_index)) if together else image_index.argsort(stable=True)
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = image_index[order].diff() != 0
    chunks = store.iter_pairs(size) if together else _gathered(store, order, size)
    for (acts_image, acts_text, _), index, is_first in zip(
        chunks, order.split(size), first.split(size), strict=True
    ):
        yield PairRows(acts_image, acts_text, index, image_index[index], is_first)


def _batches(part: PairRows | Partition, size: int) -> Iterator[PairRows]:
    if isinstance(part, Partition):
        first = part.first_of_image
        for acts_image, acts_text, image_index, at in part.iter_pairs(size):
            pair_index = torch.arange(at.start, at.stop)
            here = first[at.start - part.start : at.stop - part.start]
            yield PairRows(acts_image, acts_text, pair_index, image_index, here)
        return
    columns = (
        part.acts_image,
        part.acts_text,
        part.pair_index,
        part.image_index,
        part.first_of_image,
    )
    for batch in zip(*(column.split(size) for column in columns), strict=True):
        yield PairRows(*batch)


def _gathered(
    store: PairedActivations, order: Tensor, size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    # A table may list an image's captions far apart: bring them together, in order of first use.
    images, texts = store.image_rows(), store.text_rows()
    image_index = torch.as_tensor(store.image_index)
    for index in order.split(size):
        yield images[image_index[index]], texts[index], image_index[index]


def _known(reading: Reading, rows: PairRows) -> ActivePairs | None:
    active = reading.known.active_of(rows) if reading.known is not None else None
    return None if active is None else ActivePairs(rows, active)


def _coded(reading: Reading, rows: PairRows) -> CodedPairs:
    wanted = any(getattr(a, "needs_reconstruction", False) for a in reading.accumulators.values())
    reconstructed = None
    if wanted:
        image = _reconstructed(reading.feature_map, rows.acts_image, "image")
        text = _reconstructed(reading.feature_map, rows.acts_text, "text")
        reconstructed, codes_image, codes_text = (image, text), image.codes, text.codes
    else:
        codes_image = dense_codes(reading.feature_map.encode(rows.acts_image, "image"))
        codes_text = dense_codes(reading.feature_map.encode(rows.acts_text, "text"))
    if reading.swap_seed is not None:
        swapped = swap_mask(rows.image_index, reading.swap_seed)[:, None].to(codes_image.device)
        codes_image, codes_text = (
            torch.where(swapped, codes_text, codes_image),
            torch.where(swapped, codes_image, codes_text),
        )
    return CodedPairs(rows, codes_image, codes_text, reconstructed)


def _reconstructed(
    feature_map: FeatureMap, acts: Float[Tensor, "batch d_in"], modality: Modality
) -> Reconstruction:
    # An SAE is judged in the units that it was trained in; others work in those of the store.
    reconstruct = getattr(feature_map, "reconstruct", None)
    if reconstruct is not None:
        return Reconstruction(*reconstruct(acts, modality))
    codes = dense_codes(feature_map.encode(acts, modality))
    return Reconstruction(acts, codes, feature_map.decode(codes, modality))  # pyright: ignore[reportAttributeAccessIssue]
