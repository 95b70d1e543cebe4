"""Training the layout net: the mean latent, the subject above all, and the names of what shows."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mm_sae_plugin.factorworld.classifier import as_pixels
from mm_sae_plugin.factorworld.factors import FACTORS
from mm_sae_plugin.factorworld.generator.codec import PatchCodec
from mm_sae_plugin.factorworld.generator.layout import LayoutNet
from mm_sae_plugin.factorworld.recipes.generator_data import ABSENT, PATCH, GeneratorData

SUBJECT_WEIGHT = 3.0
"""How much more a patch full of the subject counts than one without it."""
DROPPED = 0.1
"""Share of conditions that are replaced by the zero vector."""
_NAMING_WEIGHT = 0.01
_SIZES = [len(factor.values) for factor in FACTORS.values()]


class LayoutLearner(nn.Module):
    """A layout net with a head that names the factors, which only training needs.

    The shape of an object moves few latent values, so their squared error alone teaches the dense
    part to read it late; naming it teaches that within minutes.
    """

    def __init__(self, layout: LayoutNet, width: int = 512):
        super().__init__()
        self.layout = layout
        self.naming = nn.Linear(width, sum(_SIZES))


def layout_losses(
    model: nn.Module,
    rows: np.ndarray,
    chance: torch.Generator,
    codec: PatchCodec,
    data: GeneratorData,
) -> dict[str, Float[Tensor, ""]]:
    """Return the weighted squared error of the mean latent and the loss of naming the factors."""
    assert isinstance(model, LayoutLearner)
    embeds = torch.from_numpy(data.images[rows])
    labels = torch.from_numpy(data.labels[rows]).long()
    kept = torch.rand(len(rows), 1, generator=chance) >= DROPPED
    vector = model.layout.untangle(embeds * kept)
    guess = model.layout.paint(vector).float()
    error = (guess - latents_of(codec, data, rows)).square().mean(1)
    square = (error * subject_weights(data, rows)).mean()
    names = naming_loss(model.naming(vector).float(), labels.masked_fill(~kept, ABSENT))
    return {"square": square, "names": _NAMING_WEIGHT * names}


def latents_of(
    codec: PatchCodec, data: GeneratorData, rows: np.ndarray
) -> Float[Tensor, "batch channels rows columns"]:
    """Return the latents of some of the pictures, in float32."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return codec.encode(as_pixels(data.pictures[rows])).latents


def subject_weights(data: GeneratorData, rows: np.ndarray) -> Float[Tensor, "batch rows columns"]:
    """Return the weight of each patch's error: 1, and more where the subject is."""
    share = torch.from_numpy(data.subjects[rows]).float() / PATCH**2
    return 1 + (SUBJECT_WEIGHT - 1) * share


def naming_loss(
    logits: Float[Tensor, "batch n_values"], labels: Int[Tensor, "batch n_factors"]
) -> Float[Tensor, ""]:
    """Return the cross-entropy of all factors, summed over factors, averaged over pictures."""
    losses = [
        F.cross_entropy(part, labels[:, column], reduction="sum", ignore_index=ABSENT)
        for column, part in enumerate(logits.split(_SIZES, dim=1))
    ]
    return torch.stack(losses).sum() / len(logits)
