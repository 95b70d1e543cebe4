"""What a model is still good for after an edit, and how well it still reads the group itself.

A gap that shrinks because nothing is left of the group, or of anything, is no mitigation; so these
stand beside every gap.
"""

from __future__ import annotations

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

    retrieval: float
    """Images that find their own caption first, among ``RETRIEVAL_AMONG``."""
    zero_shot: dict[str, float]
    """For each factor the images whose value is the nearest of the mean captions that name it."""
    readable: float
    """Images of which a linear probe, fitted on the other half, reads the group."""
    chance: float
    """What always guessing the largest group would reach."""


def utility(
    images: Float[Tensor, "n d"],
    captions: Float[Tensor, "n d"],
    factors: Mapping[str, Sequence[str]],
    group: Sequence[str],
) -> Utility:
    """Measure what vectors of pairs are good for.

    Parameters
    ----------
    images, captions : float
        Unit-length joint vectors of pairs; edited, if the edit is what is judged.
    factors : mapping of str to sequence of str
        What is named of each pair, factor by factor; empty where nothing is. Classes are the mean
        captions of the first half, images those of the second.
    group : sequence of str
        Each image's group.
    """
    half = len(images) // 2
    accuracies = {
        name: _zero_shot(captions[:half], labels[:half], images[half:], labels[half:])
        for name, labels in factors.items()
    }
    groups = np.array(group)
    largest = float(np.unique(groups, return_counts=True)[1].max() / len(groups))
    readable = probe_accuracy(images, group)
    return Utility(_retrieval(images, captions), accuracies, readable, largest)


def probe_accuracy(rows: Float[Tensor, "n d"], labels: Sequence[str]) -> float:
    """Return the accuracy of a ridge classifier on the half it was not fitted on, both ways."""
    from sklearn.linear_model import RidgeClassifier

    values, names = rows.numpy(), np.array(labels)
    parts = np.arange(len(values)) % 2 == 0
    scores = [
        RidgeClassifier(alpha=_RIDGE).fit(values[fit], names[fit]).score(values[~fit], names[~fit])
        for fit in (parts, ~parts)
    ]
    return float(np.mean(scores))


def _zero_shot(
    captions: Float[Tensor, "n d"],
    said: Sequence[str],
    images: Float[Tensor, "m d"],
    shown: Sequence[str],
) -> float:
    names, held = np.array(said), np.array(shown)
    values = sorted({value for value in said if value})
    classes = torch.stack([captions[torch.from_numpy(names == value)].mean(0) for value in values])
    # Each class is one direction, however many captions it is the mean of.
    nearest = (images @ normalize(classes, dim=1).T).argmax(1).numpy()
    counted = np.isin(held, values)
    return float((np.array(values)[nearest] == held)[counted].mean()) if counted.any() else np.nan


def _retrieval(images: Float[Tensor, "n d"], captions: Float[Tensor, "n d"]) -> float:
    size = min(RETRIEVAL_AMONG, len(images))
    found = [
        (image @ caption.T).argmax(1) == torch.arange(len(image))
        for image, caption in zip(images.split(size), captions.split(size), strict=True)
        if len(image) == size
    ]
    return float(torch.cat(found).float().mean())
