"""Which latents the similarity of a picture and a caption comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.feature_map import Decodable
from mm_sae_plugin.modality import Modality

_TINY = 1e-300


@dataclass(frozen=True)
class SideContributions:
    """One side's embedding, taken apart, and what each part adds to the cosine with the other."""

    codes: Float[Tensor, "n_features"]
    """float64: the latents' activations."""
    by_latent: Float[Tensor, "n_features"]
    """float64: what each latent adds, activation · direction · other embedding, over the lengths
    of both embeddings."""
    bias: float
    """What the decoder's bias adds."""
    error: float
    """What the SAE does not reconstruct adds."""

    @property
    def total(self) -> float:
        """The similarity again: all of it together."""
        return float(self.by_latent.sum()) + self.bias + self.error

    def most(self, top: int = 5) -> list[tuple[int, float]]:
        """Latents by how much they add or take away, those that matter most first."""
        if top < 0:
            raise UserError(f"top must be 0 or more, not {top}.")
        order = self.by_latent.abs().topk(min(top, len(self.by_latent))).indices.tolist()
        return [(k, float(self.by_latent[k])) for k in order if self.by_latent[k] != 0]

    def others(self, top: int = 5) -> float:
        """What all latents but those of :meth:`most` add together."""
        return float(self.by_latent.sum()) - sum(added for _, added in self.most(top))


@dataclass(frozen=True)
class Comparison:
    """A similarity, split on either side: each side's parts add up to the whole of it."""

    similarity: float
    """Cosine of the two embeddings."""
    image: SideContributions
    """The picture's latents."""
    text: SideContributions
    """The caption's latents."""


def compared(
    feature_map: Decodable, image: Float[Tensor, "d"], text: Float[Tensor, "d"]
) -> Comparison:
    """Split the cosine of two embeddings into what each latent adds, in float64.

    With e = Σ z_k d_k + b_dec + r, the product with the other embedding is
    Σ z_k (d_k · e_other) + b_dec · e_other + r · e_other; all of it is divided by |e| |e_other|.

    Parameters
    ----------
    feature_map : Decodable
        Its decoder must be affine, as those of SAEs are.
    image, text : float
        Embeddings in one space, of any length.
    """
    similarity = _cosine(image.double(), text.double())
    of_image = _side(feature_map, image, text, "image", similarity)
    return Comparison(similarity, of_image, _side(feature_map, text, image, "text", similarity))


def without(
    feature_map: Decodable,
    latents: Sequence[int],
    image: Float[Tensor, "d"],
    text: Float[Tensor, "d"],
) -> float:
    """Return the similarity with some latents ablated on both sides.

    The cosine of ``e - decode(z) + decode(z')`` of either side: what the SAE does not reconstruct
    stays, and what is left has a length of its own, by which the cosine divides. So it is not the
    similarity less what the latents added to it.
    """
    left: list[Tensor] = []
    sides: tuple[tuple[Tensor, Modality], ...] = ((image, "image"), (text, "text"))
    with torch.no_grad():
        for acts, modality in sides:
            codes = feature_map.encode(acts[None], modality)
            ablated = codes.clone()
            ablated[:, list(latents)] = 0
            lost = feature_map.decode(codes, modality) - feature_map.decode(ablated, modality)
            left.append(acts.double() - lost[0].to(acts.device).double())
    return _cosine(*left)


def _cosine(one: Float[Tensor, "d"], other: Float[Tensor, "d"]) -> float:
    return float(one @ other / (one.norm() * other.norm()).clamp_min(_TINY))


def _side(
    feature_map: Decodable, own: Tensor, other: Tensor, modality: Modality, similarity: float
) -> SideContributions:
    with torch.no_grad():
        codes = feature_map.encode(own[None], modality)
    lengths = own.double().norm() * other.double().norm()
    other = other.double() / lengths.to(other.device).clamp_min(_TINY)
    with torch.enable_grad():
        # The decoder is affine, so its gradient is what each unit of a code adds.
        at = codes.detach().clone().requires_grad_()
        decoded = feature_map.decode(at, modality)[0].double().to(other.device) @ other
        (per_unit,) = torch.autograd.grad(decoded, at)
    by_latent = (codes.double() * per_unit.double())[0].cpu()
    bias = float(decoded.detach()) - float(by_latent.sum())
    return SideContributions(
        codes=codes[0].double().cpu(),
        by_latent=by_latent,
        bias=bias,
        error=similarity - float(decoded.detach()),
    )
