"""What a model is still good for after an edit, and how well it still reads the group itself.

A gap that shrinks because nothing is left of the group, or of anything, is no mitigation; so these
stand beside every gap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

RETRIEVAL_AMONG = 256
"""Captions among which an image finds its own."""
_RIDGE = 1.0


@dataclass(frozen=True)
class Utility:
    """Shares, 0 to 1."""

    retrieval: float | None
    """Images that find their own caption first, among ``RETRIEVAL_AMONG`` or as many as there are;
    None where there are no captions."""
    zero_shot: dict[str, float]
    """For each factor the images whose value is the nearest of the mean captions that name it."""


def utility(
    images: Float[Tensor, "n d"],
    captions: Float[Tensor, "n d"],
    factors: Mapping[str, Sequence[str]],
) -> Utility:
    """Measure what vectors of pairs are good for.

    Parameters
    ----------
    images, captions : float
        Unit-length joint vectors of pairs; edited, if the edit is what is judged.
    factors : mapping of str to sequence of str
        What is named of each pair, factor by factor; empty where nothing is. Classes are the mean
        captions of the first half, images those of the second.
    """
    half = len(images) // 2
    accuracies = {
        name: _zero_shot(captions[:half], labels[:half], images[half:], labels[half:])
        for name, labels in factors.items()
    }
    named = {name: value for name, value in accuracies.items() if value is not None}
    return Utility(_retrieval(images, captions), named)


def chance(labels: Sequence[str]) -> float:
    """Return what always guessing the largest group would reach."""
    return max(Counter(labels).values()) / len(labels)


def probe_accuracy(
    rows: Float[Tensor, "n d"],
    labels: Sequence[str],
    clusters: Sequence[str] | None = None,
    seed: int = 0,
) -> float:
    """Return the accuracy of a ridge classifier on the half it was not fitted on, both ways.

    Parameters
    ----------
    rows : float
    labels : sequence of str
        Of every row, at least two different ones.
    clusters : sequence of str, optional
        Rows that stay in one half, such as twins or those of one person.
    seed : int
        Of the halves.
    """
    from sklearn.linear_model import RidgeClassifier

    values, names = rows.numpy(), np.array(labels)
    _, of = np.unique(np.arange(len(names)) if clusters is None else clusters, return_inverse=True)
    first = np.random.default_rng(seed).permutation(of.max() + 1)[of] % 2 == 0
    scores = []
    for fit in (first, ~first):
        # A half of one group only has nothing to learn from.
        if len(set(names[fit])) > 1 and len(names[~fit]):
            probe = RidgeClassifier(alpha=_RIDGE).fit(values[fit], names[fit])
            scores.append(probe.score(values[~fit], names[~fit]))
    return float(np.mean(scores)) if scores else chance(labels)


def _zero_shot(
    captions: Float[Tensor, "n d"],
    said: Sequence[str],
    images: Float[Tensor, "m d"],
    shown: Sequence[str],
) -> float | None:
    names, held = np.array(said), np.array(shown)
    values = sorted({value for value in said if value})
    if len(values) < 2:
        return None
    classes = torch.stack([captions[torch.from_numpy(names == value)].mean(0) for value in values])
    # Each class is one direction, however many captions it is the mean of.
    nearest = (images @ normalize(classes, dim=1).T).argmax(1).numpy()
    counted = np.isin(held, values)
    return float((np.array(values)[nearest] == held)[counted].mean()) if counted.any() else None


def _retrieval(images: Float[Tensor, "n d"], captions: Float[Tensor, "n d"]) -> float | None:
    if not len(images):
        return None
    size = min(RETRIEVAL_AMONG, len(images))
    found = [
        (image @ caption.T).argmax(1) == torch.arange(len(image))
        for image, caption in zip(images.split(size), captions.split(size), strict=True)
        if len(image) == size
    ]
    return float(torch.cat(found).float().mean())
