"""The denoiser: what it says before it has learned anything, and what a pipeline relies on."""

import logging

import torch
from torch import nn

from mm_sae_plugin.factorworld.generator import LayoutNet, LayoutUNet
from tests.factorworld.generator.tiny import tiny_unet


def _untrained(spread: float) -> LayoutUNet:
    unet = tiny_unet()
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)  # type: ignore[arg-type]
    nn.init.constant_(unet.spreads, spread)
    return unet


def _noisy(unet, clean, noise, step):
    kept = unet.alphas_cumprod[step]
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise


@torch.no_grad()
def test_an_untrained_one_gives_the_best_linear_estimate():
    chance = torch.Generator().manual_seed(0)
    spread, n = 0.3, 64
    unet = _untrained(spread)
    layout = unet.lay_out(torch.randn(n, 128, generator=chance))
    clean = layout.mean + spread * torch.randn(layout.mean.shape, generator=chance)
    noise = torch.randn(clean.shape, generator=chance)
    for step in (5, 300, 700, 999):
        kept = unet.alphas_cumprod[step]
        guess = unet.denoise(_noisy(unet, clean, noise, step), step, layout)
        error = (guess - clean).square().mean()
        # The variance of a normal variable that is seen through normal noise.
        best = 1 / (1 / spread**2 + kept / (1 - kept))
        torch.testing.assert_close(error, best, rtol=0.03, atol=1e-6)


@torch.no_grad()
def test_on_pure_noise_an_untrained_one_says_what_the_layout_says():
    unet, embeds = _untrained(1.0), torch.randn(2, 128)
    noise = torch.randn(2, 24, 16, 16)
    mean = unet.lay_out(embeds).mean
    guess = unet(noise, 999, added_cond_kwargs={"image_embeds": embeds}).sample[:, :24]
    assert (guess - mean).abs().max() < 0.05


@torch.no_grad()
def test_it_answers_as_a_kandinsky_decoder_does():
    unet, embeds = tiny_unet(), torch.randn(2, 128)
    (both,) = unet(
        torch.randn(2, 24, 16, 16),
        torch.tensor(500),
        encoder_hidden_states=None,
        added_cond_kwargs={"image_embeds": embeds},
        return_dict=False,
    )
    assert both.shape == (2, 48, 16, 16)
    assert both[:, 24:].abs().max() == 0
    assert unet.config["in_channels"] == 24


@torch.no_grad()
def test_only_the_direction_of_an_embedding_counts():
    unet, embeds = tiny_unet(), torch.randn(2, 128)
    once, thrice = unet.lay_out(embeds), unet.lay_out(3 * embeds)
    torch.testing.assert_close(once.mean, thrice.mean)
    assert (once.mean - unet.lay_out(-embeds).mean).abs().max() > 1e-3


@torch.no_grad()
def test_the_zero_vector_is_no_condition():
    unet = tiny_unet()
    unet.spreads[0] = 2.0
    layout = unet.lay_out(torch.stack([torch.zeros(128), torch.ones(128)]))
    assert layout.spread[0].unique().tolist() == [2.0]
    assert layout.spread[1].unique().tolist() == [1.0]


@torch.no_grad()
def test_a_saved_one_is_the_same_and_says_nothing_of_its_config(tmp_path, caplog):
    unet, embeds = tiny_unet(), torch.randn(2, 128)
    unet.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        again = LayoutUNet.from_pretrained(tmp_path)
    assert not caplog.records
    sample = torch.randn(2, 24, 16, 16)
    first, second = (u(sample, 400, None, {"image_embeds": embeds}).sample for u in (unet, again))
    assert torch.equal(first, second)


def test_the_layout_net_learns_to_tell_places_apart():
    torch.manual_seed(0)
    net = LayoutNet(d_joint=8, latent_channels=2, width=32, channels=(16, 8, 8), side=8)
    embeds = torch.eye(8)[:4]
    target = torch.zeros(4, 2, 8, 8)
    for index in range(4):
        target[index, :, 4 * (index // 2) : 4 * (index // 2) + 4, 4 * (index % 2) :][..., :4] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        loss = (net(embeds) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * target.var()
