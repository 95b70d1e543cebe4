"""Modality statistics of one feature map over one store."""

import os
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.engines import ThreadEngine
from mm_sae_plugin.errors import UserError, kind_of
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
        If feature map or store are something else, the store holds no pairs, its rows are of
        another width than the feature map takes, or the feature map gives negative codes.
    """
    _check_kinds(feature_map, store)
    seen = feature_map if centre is None else centred(feature_map, centre)
    empty = ModalityStatistics(feature_map.n_features)
    reading = Reading(seen, {"modality": empty}, swap_seed)
    (taken,) = run_pass(store, [reading], ThreadEngine(n_workers), chunk, progress)
    return cast(ModalityStatistics, taken["modality"])


def _check_kinds(feature_map: Any, store: Any) -> None:
    if not isinstance(feature_map, FeatureMap):
        is_sae = hasattr(feature_map, "encode") and hasattr(feature_map, "W_dec")
        remedy = (
            "give SAEFeatureMap(sae, normalization), since the normalisation belongs to the codes"
            if is_sae
            else "give SAEFeatureMap(*load_sae(folder)), RawDimensions(d_in) or one of your own"
        )
        raise UserError(
            f"compute_modality takes a feature map, not {kind_of(feature_map)}: {remedy}."
        )
    # Not `isinstance`, which would read the columns that the protocol names.
    if not hasattr(type(store), "iter_pairs"):
        is_path = isinstance(store, str | os.PathLike)
        remedy = f"ActivationStore.open({str(store)!r})" if is_path else "an ActivationStore"
        raise UserError(
            f"compute_modality takes a store of activations, not {kind_of(store)}: give {remedy}."
        )
