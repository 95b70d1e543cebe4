"""The codec between pictures and latents: principal components of patches, nothing learned."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.outputs import BaseOutput
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


@dataclass
class EncoderOutput(BaseOutput):
    """What ``PatchCodec.encode`` returns, named as in diffusers' ``VQModel``."""

    latents: Tensor
    """Latents, [batch, channels, rows, columns]."""


@dataclass
class DecoderOutput(BaseOutput):
    """What ``PatchCodec.decode`` returns, named as in diffusers' ``VQModel``."""

    sample: Tensor
    """Pictures in -1 to 1, [batch, 3, height, width]."""


class PatchCodec(ModelMixin, ConfigMixin):
    """A linear codec that takes the place of a Kandinsky pipeline's MoVQ.

    Each patch becomes one latent position: its ``latent_channels`` largest principal components,
    divided by the square root of their standard deviation. Fully whitened, fine grain would count
    as much as shape; left as they are, edges would drown in the noise of diffusion.

    Parameters
    ----------
    patch_size
        Side of a patch in pixels.
    latent_channels
        Number of components kept, at most ``3 * patch_size**2``.
    block_out_channels
        Read by the pipeline alone, which takes 2 to the power of its length less one for the number
        of pixels along a latent position.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        patch_size: int = 4,
        latent_channels: int = 24,
        block_out_channels: Sequence[int] = (1, 1, 1),
    ):
        super().__init__()
        assert 2 ** (len(block_out_channels) - 1) == patch_size
        self.patch_size = patch_size
        values = 3 * patch_size**2
        self.mean = nn.Parameter(torch.zeros(values), requires_grad=False)
        self.components = nn.Parameter(torch.zeros(latent_channels, values), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(latent_channels), requires_grad=False)

    @torch.no_grad()
    def fit(self, pictures: Float[Tensor, "n 3 height width"]) -> "PatchCodec":
        """Take the principal components of the patches of ``pictures`` (in -1 to 1)."""
        patches = self._patches(pictures).flatten(0, 2).double()
        mean = patches.mean(0)
        covariance = torch.cov(patches.T)
        variances, directions = torch.linalg.eigh(covariance)
        n = len(self.scale)
        self.mean.copy_(mean)
        self.components.copy_(directions.flip(1)[:, :n].T)
        # The square root of a standard deviation is the fourth root of a variance.
        self.scale.copy_(variances.flip(0)[:n].clamp(min=1e-12) ** 0.25)
        return self

    def encode(self, x: Float[Tensor, "batch 3 height width"]) -> EncoderOutput:
        """Return the latents of pictures in -1 to 1."""
        codes = (self._patches(x) - self.mean) @ self.components.T / self.scale
        return EncoderOutput(latents=rearrange(codes, "b h w c -> b c h w"))

    def decode(
        self, h: Float[Tensor, "batch channels rows columns"], force_not_quantize: bool = True
    ) -> DecoderOutput:
        """Return the pictures of latents, in -1 to 1 where the latents are of pictures.

        ``force_not_quantize`` is accepted because pipelines pass it: there is no codebook.
        """
        codes = rearrange(h, "b c h w -> b h w c") * self.scale
        patches = codes @ self.components + self.mean
        size = self.patch_size
        sample = rearrange(patches, "b h w (c p q) -> b c (h p) (w q)", p=size, q=size, c=3)
        return DecoderOutput(sample=sample)

    def _patches(
        self, pictures: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch rows columns values"]:
        size = self.patch_size
        return rearrange(pictures, "b c (h p) (w q) -> b h w (c p q)", p=size, q=size)
