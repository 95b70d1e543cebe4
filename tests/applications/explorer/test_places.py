"""Which words carry a latent, and where in a picture it fires."""

from typing import Any

import pytest
import torch

from mm_sae_plugin import Study, UserError, load_model
from mm_sae_plugin.applications.explorer import heat_map, word_weights
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.models.token_reading import patches_in_joint_space
from tests.models import tiny


def test_the_word_that_names_a_latent_carries_it(study, explorer):
    table = explorer.table
    rows = table[(table["eta2"] > 0.5) & (table["rate_text"] > 0.02)]
    right = total = 0
    for _, row in rows[~rows["name"].str.contains(" ") & (rows["name"] != "")].iterrows():
        (example, *_) = explorer.page(row["latent"]).top_captions
        caption = study.store.captions[example.pair]
        weights = word_weights(study, row["latent"], caption)
        assert all(caption[w.start : w.stop] == w.word for w in weights)
        total += 1
        right += max(weights, key=lambda w: w.fall).word.lower() == row["name"]
    assert total >= 10 and right >= 0.7 * total


def test_a_fall_is_what_is_lost(study):
    caption, latent = "two red cars", study.latents_of(text="two red cars")[0].latent
    _, codes = study.codes(texts=["two red cars", "two cars"])
    (weight,) = [w for w in word_weights(study, latent, caption) if w.word == "red"]
    assert weight.fall == pytest.approx(float(codes[0, latent] - codes[1, latent]), abs=1e-5)


def test_a_map_reads_patches_through_the_towers_own_head(study):
    picture = study.store.open_image(0)
    latent = study.latents_of(image=picture)[0].latent
    heat = heat_map(study, latent, picture)
    assert heat.shape == (6, 6) and bool((heat >= 0).all())
    # The hooks are gone again, and the model does as before.
    assert study.latents_of(image=picture)[0].latent == latent


def test_a_patch_alone_is_what_the_tower_makes_of_a_picture_of_nothing_else():
    """By hand for the embedded tower: block, final norm and projection of one token everywhere."""
    model = load_model("factorworld")
    pixels = torch.randn(1, 3, 48, 48)
    read = patches_in_joint_space(model, pixels, normalize=False)
    visual: Any = model.clip.visual
    with torch.no_grad():
        tokens, _ = model(images=pixels, stop_at_layer=3)
        token = tokens[:, 1 + 6 * 2 + 4].expand(2, -1)[None]
        left = visual.transformer.resblocks[-1](token)
        by_hand = visual.ln_post(left[:, 0]) @ visual.proj
    torch.testing.assert_close(read[2, 4], by_hand[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "family",
    [
        *("vit", "vit-norm-after-pool", "vit-token-first", "siglip", "coca"),
        *("transformers-clip", "transformers-siglip"),
    ],
)
def test_patches_of_every_family_of_transformers_can_be_read(family):
    built = tiny.build(family)
    model = HookedCLIP.wrap(built.clip)
    pixels = built.inputs(1)[0]
    before = model.encode_image(pixels)
    read = patches_in_joint_space(model, pixels, normalize=True)
    assert read.shape[0] == read.shape[1] > 1
    torch.testing.assert_close(read.norm(dim=-1), torch.ones(read.shape[:2]))
    # Patches are told apart, and the model does as before.
    assert float(read.flatten(0, 1).std(0).max()) > 0
    assert torch.equal(model.encode_image(pixels), before)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("resnet", "no tokens that can be read one by one"),
        ("convnext", "no tokens that can be read one by one"),
        ("eva02", "look at the tokens' positions"),
    ],
)
def test_other_towers_are_refused_in_a_sentence(family, message):
    built = tiny.build(family)
    with pytest.raises(UserError, match=message):
        patches_in_joint_space(HookedCLIP.wrap(built.clip), built.inputs(1)[0], normalize=True)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: word_weights(s, 0, "  "), "The caption is empty"),
        (lambda s: word_weights(s, 0, s), "must be a string, not a Study"),
        (lambda s: word_weights(s, 192, "red"), "There is no latent 192"),
        (lambda s: heat_map(s, 500, "p.png"), "There is no latent 500"),
        (lambda s: heat_map(s, 0, "none.png"), "no such file"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(study, any_types, ask, message):
    with pytest.raises(UserError, match=message):
        ask(study)


def test_an_sae_outside_the_joint_space_has_no_map(study, folder):
    picture = study.store.open_image(0)
    study = Study.open(folder / "sae")
    study.sae.cfg.metadata.hook_name_image = "vision.hook_pooled"
    with pytest.raises(UserError, match="only the patches of one in the joint space"):
        heat_map(study, 0, picture)
