"""The codec: what is lost between a picture and its latents, and that it survives saving."""

import numpy as np
import pytest
import torch

from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.factorworld.classifier import as_pixels
from mm_sae_plugin.factorworld.generator import PatchCodec


@pytest.fixture(scope="module")
def pixels():
    world = FactorWorld(11)
    return as_pixels(np.stack([np.asarray(world.draw(index)) for index in range(150)]))


def test_half_of_the_components_lose_little_of_unseen_pictures(pixels):
    codec = PatchCodec().fit(pixels[:100])
    latents = codec.encode(pixels[100:]).latents
    assert latents.shape == (50, 24, 16, 16)
    back = codec.decode(latents).sample
    error = (back - pixels[100:]).square().mean()
    # 4 is the square of the range from -1 to 1.
    assert 10 * torch.log10(4 / error) > 30


def test_all_components_lose_nothing(pixels):
    codec = PatchCodec(latent_channels=48).fit(pixels)
    back = codec.decode(codec.encode(pixels).latents).sample
    torch.testing.assert_close(back, pixels, rtol=0, atol=1e-4)


def test_latents_vary_with_the_square_root_of_the_spread(pixels):
    plain = PatchCodec(latent_channels=48).fit(pixels)
    scaled = plain.encode(pixels).latents.std((0, 2, 3))
    raw = scaled * plain.scale
    torch.testing.assert_close(scaled, raw.sqrt(), rtol=0.02, atol=0)


def test_a_saved_codec_is_the_same(pixels, tmp_path):
    codec = PatchCodec().fit(pixels)
    codec.save_pretrained(tmp_path)
    again = PatchCodec.from_pretrained(tmp_path)
    assert torch.equal(codec.encode(pixels).latents, again.encode(pixels).latents)
