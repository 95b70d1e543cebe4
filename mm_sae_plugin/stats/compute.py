"""Modality statistics of one feature map over one store."""

from typing import cast

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.engines import ThreadEngine
from mm_sae_plugin.features.centred import centred
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.passes import Reading, run_pass


def compute_modality(
    feature_map: FeatureMap,
    store: PairedActivations,
    n_workers: int = 1,
    chunk: int | None = None,
    centre: Float[Tensor, "2 d_in"] | None = None,
    swap_seed: int | None = None,
    progress: bool = False,
) -> ModalityStatistics:
    """Take the modality statistics of every latent over every pair of a store.

    The result has the same bits for any `n_workers` at the same number of torch threads.

    Parameters
    ----------
    feature_map : FeatureMap
        Non-negative codes: `encode([n, d_in], modality) -> [n, n_features]`.
    store : PairedActivations
        Paired activations.
    n_workers : int
        Threads, at least 1; with several, set torch to one thread each.
    chunk : int, optional
        Pairs per chunk; by default as many as keep memory low. It fixes the order of additions.
    centre : float, shape [2, d_in], optional
        Means of the image and the text activations. Both modalities are moved to their common
        midpoint before encoding, which removes the gap.
    swap_seed : int, optional
        Exchange image and text codes of each image by a fair coin: the swap null.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If the store holds no pairs, or the feature map gives negative codes.
    """
    seen = feature_map if centre is None else centred(feature_map, centre)
    empty = ModalityStatistics(feature_map.n_features)
    reading = Reading(seen, {"modality": empty}, swap_seed)
    (taken,) = run_pass(store, [reading], ThreadEngine(n_workers), chunk, progress)
    return cast(ModalityStatistics, taken["modality"])
