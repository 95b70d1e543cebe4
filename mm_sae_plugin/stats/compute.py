"""Encode a store and take its statistics, chunk by chunk, on any number of workers."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.interfaces import PairChunk, PairedActivations
from mm_sae_plugin.stats.nulls import swap_mask

if TYPE_CHECKING:
    from mm_sae_plugin.features.feature_map import FeatureMap

# Codes of one chunk; what is active in them is held some thirty times in float64.
_CHUNK_ELEMENTS = 2**20


def compute_modality(
    feature_map: "FeatureMap",
    store: PairedActivations,
    n_workers: int = 1,
    chunk: int | None = None,
    centre: Float[Tensor, "2 d_in"] | None = None,
    swap_seed: int | None = None,
    progress: bool = False,
) -> ModalityStatistics:
    """Take the modality statistics of every latent over every pair of a store.

    Partial sums are taken per chunk and merged in manifest order, and every chunk is computed on
    one thread: the result has the same bits for any `n_workers`.

    Parameters
    ----------
    feature_map : FeatureMap
        Non-negative codes: `encode([n, d_in]) -> [n, n_features]`.
    store : PairedActivations
        Paired activations.
    n_workers : int
        Chunks encoded at a time, at least 1.
    chunk : int, optional
        Pairs per chunk; by default as many as keep memory low. It fixes the order of additions.
    centre : float, shape [2, d_in], optional
        Means of the image and the text activations (`stats.mean_acts` of an earlier pass). Both
        modalities are moved to their common midpoint before encoding, which removes the gap.
    swap_seed : int, optional
        Exchange image and text codes of each image by a fair coin: the swap null.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If the store holds no pairs, or the feature map gives negative codes.
    """
    if n_workers < 1:
        raise UserError(f"n_workers must be at least 1, not {n_workers}.")
    n_features = feature_map.n_features
    size = chunk or min(max(_CHUNK_ELEMENTS // n_features, 256), 8192)
    shift = None if centre is None else centre - centre.mean(dim=0, keepdim=True)

    def partial(pairs: PairChunk) -> ModalityStatistics:
        acts_image, acts_text, image_index = pairs
        stats = ModalityStatistics(n_features)
        codes_image = _encode(feature_map, acts_image, None if shift is None else shift[0])
        codes_text = _encode(feature_map, acts_text, None if shift is None else shift[1])
        if swap_seed is not None:
            swapped = swap_mask(image_index, swap_seed)[:, None].to(codes_image.device)
            codes_image, codes_text = (
                torch.where(swapped, codes_text, codes_image),
                torch.where(swapped, codes_image, codes_text),
            )
        stats.update(codes_image, codes_text, image_index, acts_image, acts_text)
        return stats

    total = ModalityStatistics(n_features)
    with _one_thread_each(), ThreadPoolExecutor(n_workers) as pool, _bar(store, progress) as bar:
        pending: deque[Future[ModalityStatistics]] = deque()
        for pairs in pair_chunks(store, size):
            pending.append(pool.submit(partial, pairs))
            if len(pending) > 2 * n_workers:
                bar.update(_merge_next(total, pending))
        while pending:
            bar.update(_merge_next(total, pending))
    if total.n_pairs == 0:
        raise UserError("The store holds no image–caption pairs, so there is nothing to score.")
    return total


def pair_chunks(store: PairedActivations, size: int) -> Iterator[PairChunk]:
    """Pairs of a store, `size` at a time, with the captions of each image together."""
    image_index = torch.as_tensor(store.image_index)
    runs = torch.unique_consecutive(image_index)
    if len(runs) == len(torch.unique(runs)):
        yield from store.iter_pairs(size)
        return
    # A table may list an image's captions far apart: bring them together, in order of first use.
    order = torch.argsort(image_index, stable=True)
    images, texts = store.image_rows(), store.text_rows()
    for rows in order.split(size):
        yield images[image_index[rows]], texts[rows], image_index[rows]


@torch.no_grad()
def _encode(
    feature_map: "FeatureMap", acts: Float[Tensor, "batch d_in"], shift: Tensor | None
) -> Float[Tensor, "batch n_features"]:
    return feature_map.encode(acts if shift is None else (acts - shift).to(acts.dtype))


def _merge_next(total: ModalityStatistics, pending: "deque[Future[ModalityStatistics]]") -> int:
    part = pending.popleft().result()
    total.merge(part)
    return part.n_pairs


def _bar(store: PairedActivations, progress: bool):
    from tqdm import tqdm

    return tqdm(total=len(store.image_index), desc="modality", unit="pair", disable=not progress)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    # A matrix product split over another number of threads rounds differently.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
