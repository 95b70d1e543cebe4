"""All about one latent, as plain numbers and row numbers of the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mm_sae_plugin.applications.explorer.sums import N_BINS
from mm_sae_plugin.stats.nulls import swap_null
from mm_sae_plugin.stats.scores import CARRIED, SCORES
from mm_sae_plugin.study import Study

N_NEAREST = 8
"""Nearest latents on a page."""


@dataclass(frozen=True)
class Example:
    """A pair on one side of which a latent fires."""

    pair: int
    """Row of the pair in the store: ``store.captions[pair]``."""
    image: int
    """Row of its image: ``store.open_image(image)``."""
    activation: float
    """The latent's code on the side that the example is of, above 0."""


@dataclass(frozen=True)
class Histogram:
    """How often codes of each size occur."""

    edges: tuple[float, ...]
    """Ends of the bins, one more than there are counts, from 0; the last bin holds all that lies
    beyond its lower end. They are the same on both sides."""
    counts: tuple[int, ...]
    """Distinct images, or distinct captions, in each bin; those on which it is silent in none."""


@dataclass(frozen=True)
class ScoreOfLatent:
    """A score with its interval."""

    value: float
    """0 all text, 1 all image; NaN where it cannot be told."""
    low: float
    """Lower end of the interval at the labels' confidence."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Neighbour:
    """A latent whose decoder direction is near."""

    latent: int
    """Its number."""
    cosine: float
    """Of the two decoder directions, -1 to 1."""


@dataclass(frozen=True)
class LatentPage:
    """Everything that is known of one latent."""

    latent: int
    """Its number."""
    modality_class: str
    """`ImgD`, `TextD`, `CrossD`, `Undetermined` or `Dead`."""
    row: Mapping[str, Any]
    """Its row in `Explorer.table`."""
    scores: Mapping[str, ScoreOfLatent]
    """Every score that is known, by name: `carried`, `mean_of_ratios` (the paper's), …"""
    swap_null: tuple[str, float, float]
    """A score, and where it would lie with images and captions swapped by coins: the ends of its
    band at the labels' confidence, NaN where the latent never fires."""
    top_images: tuple[Example, ...]
    """Strongest distinct images, best first."""
    top_captions: tuple[Example, ...]
    """Strongest distinct captions, best first."""
    random_images: tuple[Example, ...]
    """Images drawn at random from those it fires on."""
    random_captions: tuple[Example, ...]
    """Captions drawn at random from those it fires on."""
    faint_images: tuple[Example, ...]
    """Near-misses: images with the lowest code above 0, the lowest first."""
    faint_captions: tuple[Example, ...]
    """Near-misses: captions with the lowest code above 0, the lowest first."""
    image_alone: tuple[Example, ...]
    """Pairs on whose image it fires most while it is silent on the caption."""
    caption_alone: tuple[Example, ...]
    """Pairs on whose caption it fires most while it is silent on the image."""
    image_histogram: Histogram
    """Codes above 0 of distinct images."""
    caption_histogram: Histogram
    """Codes above 0 of distinct captions."""
    partner: int | None
    """The latent that fires for the same thing on the other side, if one is known."""
    concept: tuple[int, ...]
    """All latents of its concept, itself among them; itself alone where it is not split."""
    nearest: tuple[Neighbour, ...]
    """Other latents by the cosine of the decoder directions, the nearest first."""


def latent_page(
    study: Study, tensors: Mapping[str, Tensor], row: Mapping[str, Any], latent: int
) -> LatentPage:
    """Look up everything about a latent; nothing is encoded."""
    labels = study.labels
    pairs = _Pairs(tensors, study.store.image_index, latent)
    concept = None
    if labels.carried is not None:
        concept = labels.concepts.get(int(labels.carried.concept[latent]))
    return LatentPage(
        latent=latent,
        modality_class=labels.classes[latent],
        row=row,
        scores=_scores(row),
        swap_null=_swap_band(study, latent),
        top_images=pairs.of_images("image_top"),
        top_captions=pairs.of_pairs("text_top"),
        random_images=pairs.of_images("image_random"),
        random_captions=pairs.of_pairs("text_random"),
        faint_images=pairs.of_images("image_faint"),
        faint_captions=pairs.of_pairs("text_faint"),
        image_alone=pairs.of_pairs("image_alone"),
        caption_alone=pairs.of_pairs("text_alone"),
        image_histogram=_histogram(tensors, "image", latent),
        caption_histogram=_histogram(tensors, "text", latent),
        partner=labels.partner_of(latent),
        concept=(latent,) if concept is None else concept.latents,
        nearest=_nearest(study.feature_map.directions, latent),
    )


class _Pairs:
    """Examples of one latent."""

    def __init__(self, tensors: Mapping[str, Tensor], image_index: Tensor, latent: int) -> None:
        self._tensors, self._image_index, self._latent = tensors, image_index, latent

    def of_images(self, kind: str) -> tuple[Example, ...]:
        """Examples that are kept as rows of images: each with the first pair it stands in."""
        first = self._tensors["first_pair"]
        return tuple(Example(int(first[row]), row, value) for row, value in self._kept(kind))

    def of_pairs(self, kind: str) -> tuple[Example, ...]:
        """Examples that are kept as pairs."""
        return tuple(
            Example(row, int(self._image_index[row]), value) for row, value in self._kept(kind)
        )

    def _kept(self, kind: str) -> list[tuple[int, float]]:
        rows = self._tensors[f"{kind}.rows"][self._latent].tolist()
        values = self._tensors[f"{kind}.values"][self._latent].tolist()
        return [pair for pair in zip(rows, values, strict=True) if pair[1] > 0]


def _scores(row: Mapping[str, Any]) -> dict[str, ScoreOfLatent]:
    return {
        name: ScoreOfLatent(row[name], row[f"{name}_low"], row[f"{name}_high"])
        for name in (CARRIED, *SCORES)
        if name in row
    }


def _swap_band(study: Study, latent: int) -> tuple[str, float, float]:
    from statistics import NormalDist

    cfg = study.labels.cfg
    std = float(swap_null(study.labels.statistics, cfg.code_score).std[latent])
    reach = NormalDist().inv_cdf(0.5 + cfg.confidence / 2) * std
    return cfg.code_score, 0.5 - reach, 0.5 + reach


def _histogram(tensors: Mapping[str, Tensor], side: str, latent: int) -> Histogram:
    width = float(tensors["widths"][latent])
    edges = tuple(i * width for i in range(N_BINS + 1))
    return Histogram(edges, tuple(tensors[f"{side}.histogram"][latent].tolist()))


def _nearest(directions: Tensor, latent: int) -> tuple[Neighbour, ...]:
    lengths = directions.norm(dim=1).clamp_min(1e-12)
    cosine = (directions @ directions[latent]) / (lengths * lengths[latent])
    cosine[latent] = -torch.inf
    values, latents = cosine.float().topk(min(N_NEAREST, len(cosine) - 1))
    return tuple(
        Neighbour(number, value)
        for number, value in zip(latents.tolist(), values.tolist(), strict=True)
    )
