"""The layout net: from a joint image embedding straight to the mean latent of its pictures."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ModulatedBlock(nn.Module):
    """A residual block of two convolutions, scaled and shifted by a vector."""

    def __init__(self, channels: int, d_vector: int):
        super().__init__()
        self.norm_in = nn.GroupNorm(8, channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_out = nn.GroupNorm(8, channels)
        self.modulate = nn.Linear(d_vector, 2 * channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        # Blocks that begin as identities let a deep stack learn at once.
        nn.init.zeros_(self.conv_out.weight)

    def forward(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        vector: Float[Tensor, "batch d_vector"],
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Return ``x`` plus what the block adds to it."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulate(vector)[:, :, None, None].chunk(2, dim=1)
        return x + self.conv_out(F.silu(self.norm_out(h) * (1 + scale) + shift))


class DenseBlock(nn.Module):
    """A residual block of two linear maps."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rise = nn.Linear(width, width)
        self.fall = nn.Linear(width, width)
        nn.init.zeros_(self.fall.weight)

    def forward(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """Return ``x`` plus what the block adds to it."""
        return x + self.fall(F.silu(self.rise(self.norm(x))))


class LayoutNet(nn.Module):
    """Predict the mean latent of the pictures that have an embedding.

    Diffusion alone learns where things stand only slowly: on pure noise its normalisation layers
    carry hardly any position. This net says it outright, and the UNet sharpens what it says.

    Parameters
    ----------
    d_joint
        Width of the joint embedding.
    latent_channels
        Channels of the latents.
    width
        Width of the dense part, which untangles the factors.
    channels
        Channels at a quarter, half and the full side of the latents.
    side
        Side of the latents, a multiple of 4.
    """

    def __init__(
        self,
        d_joint: int = 128,
        latent_channels: int = 24,
        width: int = 512,
        channels: tuple[int, int, int] = (192, 128, 96),
        side: int = 16,
    ):
        super().__init__()
        assert side % 4 == 0
        quarter, half, full = channels
        self.gain = d_joint**0.5
        self.start_shape = (quarter, side // 4, side // 4)
        self.dense = nn.Sequential(
            nn.Linear(d_joint, width), DenseBlock(width), DenseBlock(width), nn.LayerNorm(width)
        )
        self.start = nn.Linear(width, quarter * (side // 4) ** 2)
        self.at_quarter = ModulatedBlock(quarter, width)
        self.to_half = nn.Conv2d(quarter, half, 3, padding=1)
        self.at_half = nn.ModuleList([ModulatedBlock(half, width) for _ in range(2)])
        self.to_full = nn.Conv2d(half, full, 3, padding=1)
        self.at_full = nn.ModuleList([ModulatedBlock(full, width) for _ in range(2)])
        self.norm = nn.GroupNorm(8, full)
        self.out = nn.Conv2d(full, latent_channels, 3, padding=1)

    def untangle(self, embeds: Float[Tensor, "batch d_joint"]) -> Float[Tensor, "batch width"]:
        """Return what the dense part makes of embeddings."""
        # A unit vector's entries are small; a zero vector, "no condition", stays zero.
        return F.silu(self.dense(embeds * self.gain))

    def paint(
        self, vector: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch latent_channels side side"]:
        """Return the mean latents for what ``untangle`` returned."""
        x = self.at_quarter(self.start(vector).unflatten(1, self.start_shape), vector)
        x = self.to_half(F.interpolate(x, scale_factor=2.0))
        for block in self.at_half:
            x = block(x, vector)
        x = self.to_full(F.interpolate(x, scale_factor=2.0))
        for block in self.at_full:
            x = block(x, vector)
        return self.out(F.silu(self.norm(x)))

    def forward(
        self, embeds: Float[Tensor, "batch d_joint"]
    ) -> Float[Tensor, "batch latent_channels side side"]:
        """Return the mean latents of embeddings; of the zero vector, those of all pictures."""
        return self.paint(self.untangle(embeds))


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers a module holds."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def residual_scale(
    layout: Float[Tensor, "n channels rows columns"],
    latents: Float[Tensor, "n channels rows columns"],
) -> Float[Tensor, "channels rows columns"]:
    """Return the root mean square of what a layout leaves open, at every latent value."""
    return (latents - layout).square().mean(0).sqrt()
