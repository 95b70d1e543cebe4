"""What an attacked image's vector is pulled back to: its clean one, in one sense or another.

The inner attack makes a distance larger, the fine-tuning makes it smaller. All but the last do
without labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from mm_sae_plugin.features.feature_map import Decodable

Distance = Callable[[Float[Tensor, "n d"], Tensor], Float[Tensor, "n"]]
"""From unit-length vectors and what they are pulled to, mostly the clean ones of the model as it
was, to one number an image."""
NOT_SHOWN = -1
"""Label of an image that does not show what a task asks for."""


def embedding_distance(
    rows: Float[Tensor, "n d"], clean: Float[Tensor, "n d"]
) -> Float[Tensor, "n"]:
    """Return the squared distance of the whole vectors, as FARE does (arXiv 2402.12336)."""
    return (rows - clean).square().sum(1)


def latent_distance(feature_map: Decodable, mask: Bool[Tensor, "n_features"]) -> Distance:
    """Return the squared distance of what some latents add to the vectors.

    This is the alignment of selected features of Yan et al. 2025 (arXiv 2502.14888), measured in
    the joint space, where every latent counts by the length of its direction.

    Parameters
    ----------
    feature_map : Decodable
        Of the image side of the joint space; its decoder must be affine, as those of SAEs are.
    mask : bool
        The latents that are aligned.
    """
    chosen = mask.float()

    def distance(rows: Tensor, clean: Tensor) -> Tensor:
        moved = feature_map.encode(rows, "image") - feature_map.encode(clean, "image")
        zero = torch.zeros_like(moved[:1])
        kept = moved * chosen.to(moved)
        apart = feature_map.decode(kept, "image") - feature_map.decode(zero, "image")
        return apart.square().sum(1).to(rows.device)

    return distance


def reading_distance(
    classes: Mapping[str, Float[Tensor, "k d"]], temperature: float, embedding: float = 1.0
) -> Distance:
    """Return how far the zero-shot readings of several tasks lie apart.

    The mean over tasks of the divergence of the class probabilities from the clean image's own, and
    the distance of the whole vectors: what the tasks use of a vector counts by how much they use
    it, and the rest still counts.

    Parameters
    ----------
    classes : mapping of str to float
        Task to the unit-length vector of each of its classes.
    temperature : float
        What the model multiplies cosines by.
    embedding : float
        Weight of the distance of the whole vectors.
    """

    def distance(rows: Tensor, clean: Tensor) -> Tensor:
        apart = [
            kl_div(
                log_softmax(temperature * rows @ each.T, dim=1),
                log_softmax(temperature * clean @ each.T, dim=1),
                reduction="none",
                log_target=True,
            ).sum(1)
            for each in classes.values()
        ]
        return torch.stack(apart).mean(0) + embedding * embedding_distance(rows, clean)

    return distance


def label_distance(
    classes: Mapping[str, Float[Tensor, "k d"]], temperature: float
) -> Callable[[Float[Tensor, "n d"], Int[Tensor, "n n_tasks"]], Float[Tensor, "n"]]:
    """Return the cross entropy of the labels, as TeCoA does (arXiv 2212.07016).

    What it is pulled to is, for every task in order, the number of an image's class, or
    ``NOT_SHOWN``; the mean over the tasks that an image shows.

    Parameters
    ----------
    classes, temperature
        As for :func:`reading_distance`.
    """

    def distance(rows: Tensor, labels: Tensor) -> Tensor:
        shown = labels != NOT_SHOWN
        losses = [
            cross_entropy(temperature * rows @ each.T, column.clamp_min(0), reduction="none")
            for each, column in zip(classes.values(), labels.T, strict=True)
        ]
        total = (torch.stack(losses, dim=1) * shown).sum(1)
        return total / shown.sum(1).clamp_min(1)

    return distance
