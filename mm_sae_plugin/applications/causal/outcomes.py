"""What vectors of pairs are good for: retrieval both ways, zero-shot accuracy, the modality gap.

Everything is kept image by image, so that the same images can be resampled for every edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.causal.gallery import Gallery

RANKS = (1, 5, 10)
"""k of R@k."""
TO_TEXT, TO_IMAGE = "image_to_text", "text_to_image"
RETRIEVAL = "retrieval"
"""Mean of R@1 of both ways."""
ZERO_SHOT = "zero_shot"
"""Mean accuracy over the factors that are asked about."""
GAP = "modality_gap"
"""Distance of the mean image from the mean caption, 0 to 2."""
TASKS = (RETRIEVAL, ZERO_SHOT)
"""The measures that a cost is told of: shares, 0 to 1."""
# Similarities of equal vectors differ by their rounding; what is as near counts as equal.
_TIE = 1e-6


@dataclass(frozen=True)
class Vectors:
    """A gallery's vectors as an edit leaves them."""

    images: Float[Tensor, "n_images d"]
    """Unit length, or zero."""
    captions: Float[Tensor, "n_captions d"]
    """Unit length, or zero."""
    prompts: Float[Tensor, "n_prompts d"]
    """Unit length, or zero."""


@dataclass(frozen=True)
class Outcomes:
    """What came out, image by image."""

    correct: Float[np.ndarray, "n_images n_asked"]
    """How many of an image's queries were answered rightly, question by question."""
    images: Float[np.ndarray, "n_images d"]
    """Vectors of the images."""
    captions: Float[np.ndarray, "n_images d"]
    """Sums of the vectors of each image's captions."""


class Measures:
    """The measures of a gallery, and how they follow from outcomes.

    Retrieval is pessimistic: of equals the right one comes last (the rank is 1 + the number of
    wrong ones that are at least as similar), so that vectors that are all alike find nothing. All
    captions of an image are right for it, and the best of them counts. Zero-shot, an image's value
    of a factor is the nearest class, the mean of the prompts that name it; here, too, a tie is a
    mistake, and images that do not show the factor are not asked. Under resamples the queries
    change and the gallery that they are put to stays; a resampled mean is a little further from
    the other one than the whole sample's is, so that the gap's interval reaches higher than lower.

    Parameters
    ----------
    gallery : Gallery
        Whose truth is asked.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery, self._questions = gallery, gallery.asked
        n_images = len(gallery.images)
        n_captions = torch.bincount(gallery.image_of, minlength=n_images).float()
        asked = [torch.ones(n_images, len(RANKS)), n_captions[:, None].expand(-1, len(RANKS))]
        asked += [(one.shown >= 0).float()[:, None] for one in self._questions]
        self._asked: Float[np.ndarray, "n_images n_asked"] = torch.cat(asked, dim=1).numpy()
        self._n_captions: Float[np.ndarray, "n_images"] = n_captions.numpy()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every measure, in the order of :meth:`values`."""
        directions = [f"{way}_r{k}" for way in (TO_TEXT, TO_IMAGE) for k in RANKS]
        factors = [f"{ZERO_SHOT}.{one.factor.name}" for one in self._questions]
        means = [ZERO_SHOT, *(f"{ZERO_SHOT}_{name}" for name in self._kinds)] if factors else []
        return (RETRIEVAL, *directions, *means, *factors, GAP)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those of ``TASKS`` that the gallery has."""
        return tuple(name for name in TASKS if name in self.names)

    @property
    def n_queries(self) -> dict[str, int]:
        """How many queries each measure is of; for the mean of several those of all of them."""
        counts = self._asked.sum(0).astype(int)
        n_ways = 2 * len(RANKS)
        n_images, n_captions = int(counts[0]), int(counts[len(RANKS)])
        numbers = [n_images + n_captions, *counts[:n_ways].tolist()]
        if self._questions:
            numbers.append(int(counts[n_ways:].sum()))
            numbers += [int(counts[n_ways:][chosen].sum()) for chosen in self._kinds.values()]
            numbers += counts[n_ways:].tolist()
        return dict(zip(self.names, [*numbers, n_images + n_captions], strict=True))

    def outcomes(self, vectors: Vectors) -> Outcomes:
        """Ask every question of some vectors."""
        gallery = self._gallery
        ranks_image, ranks_caption = retrieval_ranks(
            vectors.images @ vectors.captions.T, gallery.image_of
        )
        found = torch.stack([ranks_caption <= k for k in RANKS], dim=1).float()
        to_image = _summed(found, gallery.image_of, len(vectors.images))
        correct = [torch.stack([ranks_image <= k for k in RANKS], dim=1).float(), to_image]
        for one in self._questions:
            classes = class_vectors(vectors.prompts[one.prompts], len(one.factor.values))
            correct.append(_named(vectors.images @ classes.T, one.shown).float()[:, None])
        sums = _summed(vectors.captions, gallery.image_of, len(vectors.images))
        return Outcomes(torch.cat(correct, dim=1).numpy(), vectors.images.numpy(), sums.numpy())

    def values(
        self, outcomes: Outcomes, weights: Float[np.ndarray, "n_resamples n_images"]
    ) -> Float[np.ndarray, "n_resamples n_measures"]:
        """Return every measure under weights of the images.

        Parameters
        ----------
        outcomes : Outcomes
        weights : float, >= 0
            How often each image is in each resample.

        Returns
        -------
        float, in the order of ``names``
            NaN where no image of a resample shows a factor.
        """
        answered, asked = weights @ outcomes.correct, weights @ self._asked
        shares = np.divide(answered, asked, out=np.full_like(asked, np.nan), where=asked > 0)
        n_ways = 2 * len(RANKS)
        ways, factors = shares[:, :n_ways], shares[:, n_ways:]
        columns = [ways[:, [0, len(RANKS)]].mean(1, keepdims=True), ways]
        if factors.shape[1]:
            chosen = [slice(None), *self._kinds.values()]
            columns += [_mean(factors[:, one])[:, None] for one in chosen]
            columns.append(factors)
        images = weights @ outcomes.images / weights.sum(1, keepdims=True)
        captions = weights @ outcomes.captions / (weights @ self._n_captions)[:, None]
        columns.append(np.linalg.norm(images - captions, axis=1, keepdims=True))
        return np.concatenate(columns, axis=1)

    @cached_property
    def _kinds(self) -> dict[str, list[int]]:
        """True modality to the factors of it, by their place."""
        kinds: dict[str, list[int]] = {}
        for place, one in enumerate(self._questions):
            kinds.setdefault(one.factor.modality, []).append(place)
        return kinds


def retrieval_ranks(
    similarities: Float[Tensor, "n_images n_captions"], image_of: Int[Tensor, "n_captions"]
) -> tuple[Int[Tensor, "n_images"], Int[Tensor, "n_captions"]]:
    """Return the rank of each image's best own caption, and of each caption's own image.

    Parameters
    ----------
    similarities : float
        Cosines.
    image_of : int64
        The image of each caption; every image has at least one.

    Returns
    -------
    int64, from 1
        Of equals the right one comes last; other captions of the same image are not in its way.
    """
    n_images, n_captions = similarities.shape
    own = similarities[image_of, torch.arange(n_captions)]
    best = torch.full((n_images,), -torch.inf, dtype=own.dtype)
    best = best.scatter_reduce(0, image_of, own, "amax")
    as_near = similarities >= (best - _TIE)[:, None]
    own_as_near = _summed((own >= best[image_of] - _TIE).long()[:, None], image_of, n_images)[:, 0]
    ranks_image = 1 + as_near.sum(1) - own_as_near
    # The caption's own image is always among those as near as it is.
    return ranks_image, (similarities >= (own - _TIE)[None]).sum(0)


def class_vectors(prompts: Float[Tensor, "n d"], n_values: int) -> Float[Tensor, "n_values d"]:
    """Return each value as one direction, the mean of its prompts (Radford et al. 2021)."""
    return normalize(prompts.unflatten(0, (n_values, -1)).mean(1), dim=1)


def _named(
    similarities: Float[Tensor, "n_images n_values"], shown: Int[Tensor, "n_images"]
) -> Float[Tensor, "n_images"]:
    """Say which images are nearest to the value they show, and to no other as near."""
    own = similarities.gather(1, shown.clamp_min(0)[:, None])
    alone = (similarities >= own - _TIE).sum(1) == 1
    return (alone & (shown >= 0)).to(similarities.dtype)


def _summed(values: Tensor, image_of: Int[Tensor, "n_captions"], n_images: int) -> Tensor:
    """Sum rows of captions image by image."""
    return values.new_zeros(n_images, values.shape[1]).index_add_(0, image_of, values)


def _mean(values: Float[np.ndarray, "n_resamples k"]) -> Float[np.ndarray, "n_resamples"]:
    """Mean over factors, those that a resample shows nowhere left out."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)
