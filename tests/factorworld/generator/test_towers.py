"""The embedded CLIP as transformers models: exactly the same numbers."""

import pytest
import torch

from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.factorworld.embedded import load_embedded
from mm_sae_plugin.factorworld.generator import StemVisionTower
from mm_sae_plugin.factorworld.generator.towers import (
    fast_tokenizer,
    image_processor,
    text_tower,
    vision_tower,
)

_STRANGE = ["", "A RED  ball, strange!", "#art ?", "one " * 50, "zwei rote Bälle\nlinks"]


@pytest.fixture(scope="module")
def clip():
    return load_embedded("factorworld")


@pytest.fixture(scope="module")
def captions():
    world = FactorWorld(12)
    return [world.scene(index).caption for index in range(100)] + _STRANGE


def test_the_tokenizer_gives_the_same_ids(clip, captions, tmp_path):
    tokenizer = fast_tokenizer(clip.tokenizer)
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, type(tokenizer).from_pretrained(tmp_path)):
        rows = one(
            captions,
            padding="max_length",
            max_length=one.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        assert torch.equal(rows, clip.tokenizer(captions))


@torch.no_grad()
def test_the_text_tower_gives_the_same_embeddings(clip, captions):
    tokens = clip.tokenizer(captions)
    expected = clip.model.encode_text(tokens)
    torch.testing.assert_close(text_tower(clip)(tokens).text_embeds, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_vision_tower_gives_the_same_embeddings(clip, tmp_path):
    world = FactorWorld(12)
    pictures = [world.draw(index) for index in range(6)]
    pixels = torch.stack([clip.preprocess(picture) for picture in pictures])
    expected = clip.model.encode_image(pixels)
    tower = vision_tower(clip)
    tower.save_pretrained(tmp_path)
    for one in (tower, StemVisionTower.from_pretrained(tmp_path)):
        torch.testing.assert_close(one(pixels).image_embeds, expected, rtol=0, atol=1e-4)
    # The processor resizes by other code, which rounds differently.
    prepared = image_processor()(images=pictures, return_tensors="pt").pixel_values
    near = torch.cosine_similarity(tower(prepared).image_embeds, expected)
    assert near.min() > 0.999


@torch.no_grad()
def test_a_blank_picture_is_no_condition(clip):
    pixels = torch.zeros(2, 3, 48, 48)
    pixels[1, 0, 0, 0] = 1.0
    embeds = vision_tower(clip)(pixels).image_embeds
    assert embeds[0].abs().max() == 0
    assert embeds[1].norm() > 1
