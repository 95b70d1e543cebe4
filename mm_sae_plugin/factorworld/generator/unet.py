"""The denoiser: a diffusers UNet that corrects what follows from the layout and the noise alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config

# A pipeline looks for the base class of a part of its own among the names of the part's module.
from diffusers.models.modeling_utils import ModelMixin as ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel, UNet2DConditionOutput
from diffusers.schedulers.scheduling_unclip import betas_for_alpha_bar
from jaxtyping import Float
from torch import Tensor, nn

from mm_sae_plugin.factorworld.generator.layout import LayoutNet


class Layout(NamedTuple):
    """What is known of a picture's latents before any noise is seen."""

    vector: Float[Tensor, "batch width"]
    """What the layout net's dense part makes of the embeddings."""
    mean: Float[Tensor, "batch channels rows columns"]
    """The mean latents."""
    spread: Float[Tensor, "batch channels rows columns"]
    """The standard deviation that the mean leaves open."""


class LayoutUNet(UNet2DConditionModel):
    """A UNet for Kandinsky 2.2's decoder pipeline that holds a layout net; it predicts the sample.

    Latents are taken as the layout's mean plus a spread that is known from training. Under that
    assumption alone the noisy latents have one best linear estimate; the network sees them
    standardised, beside the mean, and adds its correction in units of what the estimate leaves
    open (as Karras et al. 2022, arXiv 2206.00364, do about a mean of zero). So it need not learn
    to copy either of them, and on pure noise it says what the layout says.

    Embeddings are scaled to unit length. The zero vector means "no condition".

    Parameters
    ----------
    in_channels, sample_size
        Channels and side of the latents.
    d_joint
        Width of the joint embedding.
    layout_width, layout_channels
        As for ``LayoutNet``.
    block_out_channels
        Channels of the UNet at the full side of the latents, half of it, and so on.
    layers_per_block
        Residual blocks on the way down at each of these; on the way up it is one more.
    num_train_timesteps
        Steps of the squared-cosine schedule of the noise.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 24,
        sample_size: int = 16,
        d_joint: int = 128,
        layout_width: int = 512,
        layout_channels: Sequence[int] = (192, 128, 96),
        block_out_channels: Sequence[int] = (96, 96, 128),
        layers_per_block: int = 1,
        num_train_timesteps: int = 1000,
    ):
        n_levels = len(block_out_channels)
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=in_channels,
            down_block_types=("DownBlock2D",) * n_levels,
            mid_block_type="UNetMidBlock2D",
            up_block_types=("UpBlock2D",) * n_levels,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            norm_num_groups=8,
            resnet_time_scale_shift="scale_shift",
        )
        first = block_out_channels[0]
        # The pipeline takes in_channels for the latents'; the network also sees the mean.
        self.conv_in = nn.Conv2d(2 * in_channels, first, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)
        self.tell = nn.Linear(layout_width, 4 * first)
        quarter, half, full = layout_channels
        self.layout = LayoutNet(
            d_joint, in_channels, layout_width, (quarter, half, full), sample_size
        )
        shape = (2, in_channels, sample_size, sample_size)
        # Without a condition, and with one.
        self.spreads = nn.Parameter(torch.ones(shape), requires_grad=False)
        kept = torch.cumprod(1 - betas_for_alpha_bar(num_train_timesteps), 0)
        self.register_buffer("alphas_cumprod", kept, persistent=False)

    @classmethod
    def extract_init_dict(
        cls, config_dict: dict[str, Any], **kwargs: Any
    ) -> tuple[dict[str, Any], ...]:
        """Leave out what the base class wrote into the config: it follows from this class's."""
        known = cls._get_init_keys(cls)
        own = {k: v for k, v in config_dict.items() if k in known or k.startswith("_")}
        return super().extract_init_dict(own, **kwargs)

    def lay_out(self, image_embeds: Float[Tensor, "batch d_joint"]) -> Layout:
        """Return what the embeddings alone say of the latents."""
        embeds = F.normalize(image_embeds, dim=-1)
        vector = self.layout.untangle(embeds)
        conditioned = embeds.abs().amax(-1).gt(0).long()
        return Layout(vector, self.layout.paint(vector), self.spreads[conditioned])

    def forward(
        self,
        sample: Float[Tensor, "batch channels rows columns"],
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """Return the predicted sample, and as many channels of zeros that the pipeline drops."""
        assert added_cond_kwargs is not None
        layout = self.lay_out(added_cond_kwargs["image_embeds"])
        clean = self.denoise(sample, timestep, layout)
        # Kandinsky's decoder also predicts a variance, which no scheduler here reads.
        both = torch.cat([clean, torch.zeros_like(clean)], dim=1)
        return UNet2DConditionOutput(sample=both) if return_dict else (both,)

    def denoise(
        self,
        sample: Float[Tensor, "batch channels rows columns"],
        timestep: Tensor | float | int,
        layout: Layout,
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Return the predicted clean latents of noisy ones."""
        steps = torch.as_tensor(timestep, device=sample.device).long().expand(len(sample))
        kept = self.alphas_cumprod[steps].to(sample.dtype)[:, None, None, None]
        signal, noise = kept.sqrt(), (1 - kept).sqrt()
        # The layout's rounding must not become the noise's.
        mean, spread = layout.mean.to(sample.dtype), layout.spread.to(sample.dtype)
        scale = ((signal * spread) ** 2 + noise**2).sqrt()
        surprise = (sample - signal * mean) / scale
        estimate = mean + signal * spread**2 / scale * surprise
        correction = super().forward(
            torch.cat([surprise, mean], dim=1),
            steps,
            encoder_hidden_states=None,  # pyright: ignore[reportArgumentType]
            added_cond_kwargs={"vector": layout.vector},
            return_dict=False,
        )[0]
        return estimate + spread * noise / scale * correction

    def get_aug_embed(
        self,
        emb: Tensor,
        encoder_hidden_states: Tensor | None,
        added_cond_kwargs: dict[str, Tensor],
    ) -> Float[Tensor, "batch d_time"]:
        """Return what is added to the embedding of the time step: the layout's vector."""
        return self.tell(added_cond_kwargs["vector"])
