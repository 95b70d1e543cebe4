"""Concepts: latents that are partners of each other, one after the other."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def concept_of(partner: Int[Tensor, "n_features"]) -> Int[Tensor, "n_features"]:
    """Name every latent's concept by the smallest of the latents that belong to it.

    Parameters
    ----------
    partner : int64
        Each latent's partner; -1 where it has none.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n = len(partner)
    split = (partner >= 0).nonzero()[:, 0].numpy()
    edges = csr_array((np.ones(len(split)), (split, partner.numpy()[split])), shape=(n, n))
    _, component = connected_components(edges, directed=False)
    first = np.full(n, n)
    np.minimum.at(first, component, np.arange(n))
    return torch.from_numpy(first[component].astype(np.int64))


@dataclass(frozen=True)
class Concept:
    """Latents that are one thing."""

    latents: tuple[int, ...]
    """At least two, in ascending order."""
    score: float
    """Mean of their carried dominances, weighted by how often they fire; NaN where none is
    decidable."""
    interval: tuple[float, float]
    """The same mean of the ends of their intervals: their errors are not independent."""


def concepts(
    concept: Int[Tensor, "n_features"],
    scores: Float[Tensor, "n_features"],
    intervals: Float[Tensor, "n_features 2"],
    weights: Float[Tensor, "n_features"],
) -> dict[int, Concept]:
    """Gather the concepts of more than one latent, by their names.

    Parameters
    ----------
    concept : int64
        As :func:`concept_of` gives it.
    scores, intervals : float64
        Carried dominance.
    weights : float64
        How often each latent fires.
    """
    names, n_members = torch.unique(concept, return_counts=True)
    gathered = {}
    for name in names[n_members > 1].tolist():
        members = (concept == name).nonzero()[:, 0]
        known = members[~scores[members].isnan()]
        share = weights[known] / weights[known].sum().clamp_min(1e-12)
        score = float(share @ scores[known]) if len(known) else float("nan")
        low, high = (share @ intervals[known]).tolist() if len(known) else (0.0, 1.0)
        gathered[name] = Concept(tuple(members.tolist()), score, (low, high))
    return gathered
