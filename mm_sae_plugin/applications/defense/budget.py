"""How far an attack may move an image: a ball of one norm, inside what is an image at all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.defense.radius import Norm, check_radius

_TINY = 1e-12


@dataclass(frozen=True)
class Budget:
    """All images within ``eps`` of one, with pixels in [0, 1].

    Raises
    ------
    UserError
        If the radius is no number, below 0, or, for L∞, above 1.
    """

    eps: float
    """Radius, in pixels of [0, 1]: 4/255 is the usual one of L∞."""
    norm: Norm = "Linf"
    """`Linf`: every pixel by at most eps. `L2`: the Euclidean length of the change, per image."""

    def __post_init__(self) -> None:
        check_radius(self.eps, self.norm)

    def project(
        self, moved: Float[Tensor, "n c h w"], images: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Return the nearest allowed images; for L2 the ball first, then [0, 1], which keeps it."""
        change = moved - images
        if self.norm == "Linf":
            change = change.clamp(-self.eps, self.eps)
        else:
            length = lengths(change).clamp_min(_TINY)
            change = change * (self.eps / length).clamp_max(1.0)
        return (images + change).clamp(0, 1)

    def steepest(self, gradient: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the change of norm 1 along which a loss grows fastest."""
        if self.norm == "Linf":
            return gradient.sign()
        return gradient / lengths(gradient).clamp_min(_TINY)

    def random(
        self, images: Float[Tensor, "n c h w"], generator: torch.Generator
    ) -> Float[Tensor, "n c h w"]:
        """Return images drawn at random within the ball, each from the same stream of numbers."""
        if self.norm == "Linf":
            uniform = torch.rand(images.shape, generator=generator).to(images)
            return self.project(images + self.eps * (2 * uniform - 1), images)
        drawn = torch.randn(images.shape, generator=generator).to(images)
        size = images[0].numel()
        radius = torch.rand(len(images), 1, 1, 1, generator=generator).to(images) ** (1 / size)
        return self.project(images + self.eps * radius * self.steepest(drawn), images)

    def holds(
        self, moved: Float[Tensor, "n c h w"], images: Float[Tensor, "n c h w"], slack: float = 1e-5
    ) -> bool:
        """Say whether images are allowed, up to rounding."""
        change = moved - images
        size = change.abs().flatten(1).amax(1) if self.norm == "Linf" else lengths(change).flatten()
        inside = bool(((moved >= -slack) & (moved <= 1 + slack)).all())
        return inside and bool((size <= self.eps + slack).all())


def lengths(change: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 1 1"]:
    """Return the Euclidean length of each image's change."""
    return change.flatten(1).norm(dim=1)[:, None, None, None]
