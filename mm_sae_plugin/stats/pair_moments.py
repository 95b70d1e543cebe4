"""Mean and covariance of the activations of pairs, and what a Gaussian is drawn with."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.carried.moments import covariance_of
from mm_sae_plugin.stats.interfaces import PairedActivations

# Pairs that are summed at a time.
_CHUNK = 4096
# Rows whose length is no further from 1 are of unit length.
_UNIT = 1e-3
# Share of the largest variance below which a direction does not vary.
_FLAT = 1e-10


@dataclass(frozen=True)
class PairMoments:
    """Moments over pairs, in float64, an image counting once for each of its captions."""

    mean_image: Float[Tensor, "d_image"]
    """Mean of the images."""
    mean_text: Float[Tensor, "d_text"]
    """Mean of the captions."""
    image_root: Float[Tensor, "d_image d_image"]
    """Square root of the covariance of the images."""
    text_on_image: Float[Tensor, "d_image d_text"]
    """What an image says of its caption linearly: (image − mean) @ this."""
    text_given_image: Float[Tensor, "d_text d_text"]
    """Square root of the covariance that captions have beyond that."""
    unit_image: bool
    """Whether every image row has unit length."""
    unit_text: bool
    """Whether every caption row has unit length."""


def pair_moments(store: PairedActivations) -> PairMoments:
    """Read a store once and take its moments; memory is O((d_image + d_text)²).

    Raises
    ------
    UserError
        If the store holds no pairs, or activations that are not finite.
    """
    products, d_image = None, 0
    furthest = torch.zeros(2)
    for acts_image, acts_text, _ in store.iter_pairs(_CHUNK):
        d_image = acts_image.shape[1]
        lengths = torch.stack([acts_image.norm(dim=1), acts_text.norm(dim=1)])
        furthest = torch.maximum(furthest, (lengths - 1).abs().amax(1).cpu().float())
        ones = acts_image.new_ones(len(acts_image), 1)
        rows = torch.cat([acts_image, acts_text, ones], dim=1).to("cpu", torch.float64)
        products = rows.T @ rows if products is None else products + rows.T @ rows
    if products is None:
        raise UserError("The store holds no image–caption pairs, so it has no moments to match.")
    if not torch.isfinite(products).all():
        raise UserError("The store holds activations that are not finite: extract it again.")
    mean = products[-1, :-1] / products[-1, -1]
    covariance = covariance_of(products)
    image, text = slice(0, d_image), slice(d_image, None)
    slopes = _inverse(covariance[image, image]) @ covariance[image, text]
    beyond = covariance[text, text] - covariance[text, image] @ slopes
    return PairMoments(
        mean_image=mean[image],
        mean_text=mean[text],
        image_root=_root(covariance[image, image]),
        text_on_image=slopes,
        text_given_image=_root(beyond),
        unit_image=bool(furthest[0] <= _UNIT),
        unit_text=bool(furthest[1] <= _UNIT),
    )


def _root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * values.clamp_min(0).sqrt()


def _inverse(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Inverse within the directions that vary."""
    return torch.linalg.pinv((covariance + covariance.T) / 2, rtol=_FLAT, hermitian=True)
