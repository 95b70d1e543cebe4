"""What each latent stands for, as captions that name it less captions that do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.causal.gallery import Gallery
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats.auroc import Auroc, auroc
from mm_sae_plugin.stats.examples import top_examples
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.truth import LatentTruth

# Pairs of a store that are read at a time.
_CHUNK = 8192


@dataclass(frozen=True)
class Targets:
    """What every latent is steered towards, and read for."""

    kind: str
    """``truth``: the value of the factor that it follows; ``examples``: the captions on which it
    fires most."""
    contrast: Float[Tensor, "n_latents d"]
    """Mean vector of the captions that name it, less that of the others; 0 where there are none."""
    is_named: Bool[Tensor, "n_latents"]
    """Whether any caption names it."""
    n_captions: Int[Tensor, "n_latents"]
    """int64: captions that do."""
    readability: tuple[Auroc, ...]
    """How well its code tells what it stands for, on the gallery."""
    factor: tuple[str, ...]
    """The factor that it follows; empty where none is known."""
    value: tuple[str, ...]
    """The value of it; empty where none is known, or where it fires for no value."""
    eta2: Float[np.ndarray, "n_latents"]
    """Share of its code's variance that the factor explains, on the store; NaN where unknown."""


def targets_of_truth(
    feature_map: FeatureMap, gallery: Gallery, truth: list[LatentTruth], confidence: float
) -> Targets:
    """Take each latent's value from the truth: prompts that name it against those of other values.

    Prompts of a factor's values differ in nothing else. A latent is read on its own side of the
    gallery: its code where the value is, against its code everywhere else.

    Parameters
    ----------
    feature_map : FeatureMap
        Whose latents.
    gallery : Gallery
        Of known factors.
    truth : list of LatentTruth
        What each latent alive follows, found on other pairs.
    confidence : float
        Of the areas.
    """
    n = feature_map.n_features
    contrast = torch.zeros(n, gallery.images.shape[1])
    n_captions = torch.zeros(n, dtype=torch.int64)
    readability = [Auroc(None, None, None, 0, 0)] * n
    factor, value, eta2 = [""] * n, [""] * n, np.full(n, np.nan)
    questions = {one.factor.name: one for one in gallery.questions}
    codes = _codes(feature_map, gallery)
    for one in truth:
        question, k = questions[one.factor], one.latent
        factor[k], value[k], eta2[k] = one.factor, one.value, one.eta2
        if not one.value:
            continue
        number = question.factor.values.index(one.value)
        on_image = one.side == "image"
        has = (question.shown if on_image else question.said) == number
        readability[k] = _area(codes["image" if on_image else "text"][:, k], has, confidence)
        prompts = gallery.prompts[question.prompts]
        if len(prompts):
            means = prompts.unflatten(0, (len(question.factor.values), -1))
            n_captions[k] = means.shape[1]
            others = torch.cat([means[:number], means[number + 1 :]])
            contrast[k] = means[number].mean(0) - others.flatten(0, 1).mean(0)
    return Targets(
        "truth",
        contrast,
        n_captions > 0,
        n_captions,
        tuple(readability),
        tuple(factor),
        tuple(value),
        eta2,
    )


def targets_of_examples(
    feature_map: FeatureMap,
    store: PairedActivations,
    gallery: Gallery,
    alive: Bool[Tensor, "n_latents"],
    n_top: int,
    confidence: float,
) -> Targets:
    """Take the captions of a store on which a latent fires most, against the gallery's captions.

    The gallery's are a random sample of the same store. A latent is read across: its code on the
    images of captions that it fires on, against its code on other images.

    Parameters
    ----------
    feature_map : FeatureMap
        Whose latents.
    store : PairedActivations
        Where it fires.
    gallery : Gallery
        Of the store.
    alive : bool
        Latents that are asked about.
    n_top : int
        Captions for each; fewer where it fires on fewer, and none where it fires on none.
    confidence : float
        Of the areas.
    """
    n, latents = feature_map.n_features, alive.nonzero()[:, 0].tolist()
    examples = top_examples(feature_map, store, latents, n_top)
    fires = examples.text_values > 0
    contrast = torch.zeros(n, gallery.images.shape[1])
    n_captions = torch.zeros(n, dtype=torch.int64)
    n_captions[alive] = fires.sum(1)
    wanted = torch.unique(examples.text_rows[fires])
    vectors = _captions(store, wanted, gallery.captions.shape[1])
    usual = gallery.captions.mean(0)
    for k, rows, are_on in zip(latents, examples.text_rows, fires, strict=True):
        if are_on.any():
            contrast[k] = vectors[torch.searchsorted(wanted, rows[are_on])].mean(0) - usual
    codes = _codes(feature_map, gallery)
    told = torch.zeros(len(gallery.images), n).index_add_(
        0, gallery.image_of, (codes["text"] > 0).float()
    )
    none = Auroc(None, None, None, 0, 0)
    readability = tuple(
        _area(codes["image"][:, k], told[:, k] > 0, confidence) if is_alive else none
        for k, is_alive in enumerate(alive.tolist())
    )
    blank = ("",) * n
    unknown = np.full(n, np.nan)
    return Targets(
        "examples", contrast, n_captions > 0, n_captions, readability, blank, blank, unknown
    )


@torch.no_grad()
def _codes(feature_map: FeatureMap, gallery: Gallery) -> dict[Modality, Tensor]:
    return {
        "image": feature_map.encode(gallery.images, "image").cpu(),
        "text": feature_map.encode(gallery.captions, "text").cpu(),
    }


def _area(codes: Tensor, has: Tensor, confidence: float) -> Auroc:
    values = codes.double().numpy()
    return auroc(values[has.numpy()], values[~has.numpy()], confidence)


def _captions(store: PairedActivations, rows: Int[Tensor, "n"], d: int) -> Float[Tensor, "n d"]:
    """Read unit-length vectors of some captions, rows ascending, chunk by chunk."""
    found, start = [torch.zeros(0, d)], 0
    for _, acts_text, _ in store.iter_pairs(_CHUNK):
        inside = rows[(rows >= start) & (rows < start + len(acts_text))] - start
        found.append(normalize(acts_text[inside].float(), dim=1))
        start += len(acts_text)
    return torch.cat(found)
