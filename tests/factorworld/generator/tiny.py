"""A generator of the real parts, too small and untrained, for tests of how it is put together."""

import torch

from mm_sae_plugin.factorworld.generator import LayoutUNet, PatchCodec, build_pipeline, build_prior


def tiny_unet() -> LayoutUNet:
    torch.manual_seed(0)
    unet = LayoutUNet(
        layout_width=32, layout_channels=(16, 8, 8), block_out_channels=(8, 16), layers_per_block=1
    )
    # Where all blocks begin as identities, nothing that a test changes would show.
    for parameter in unet.parameters():
        if parameter.requires_grad and parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    return unet.eval()


def tiny_pipeline():
    torch.manual_seed(0)
    prior = build_prior(num_layers=1)
    torch.nn.init.constant_(prior.clip_std, 0.08)
    codec = PatchCodec()
    torch.nn.init.orthogonal_(codec.components)
    pipeline = build_pipeline(codec, tiny_unet(), prior)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
