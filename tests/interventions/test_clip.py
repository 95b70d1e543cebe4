"""Edits on the CLIP itself, with the SAE spliced in."""

from typing import Any

import pytest
import torch

from mm_sae_plugin.applications.explorer import similarities
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit, edited
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.interventions.clip import edit_hooks


@pytest.fixture(scope="module")
def pair(study):
    picture = study.store.open_image(0)
    return torch.stack([study.model.preprocess(picture)]), [study.store.captions[0]]


@pytest.fixture(scope="module")
def edit(study, pair):
    fired = study.latents_of(image=study.store.open_image(0), top=3)
    said = study.latents_of(text=pair[1][0], top=3)
    return FeatureEdit.ablate(study, latents=[x.latent for x in [*fired, *said]])


def test_both_towers_are_edited_and_put_back(study, pair, edit):
    images, texts = pair
    plain = study.model(images, texts)
    with edited(study, edit) as model:
        assert model is study.model
        image, text = model(images, texts)
    assert not torch.allclose(image, plain[0]) and not torch.allclose(text, plain[1])
    again = study.model(images, texts)
    assert torch.equal(again[0], plain[0]) and torch.equal(again[1], plain[1])
    with edited(study, edit, modalities="text") as model:
        image, text = model(images, texts)
    torch.testing.assert_close(image, plain[0])
    assert not torch.allclose(text, plain[1])


def test_saelens_own_habit_gives_the_same_bits(study, pair, edit):
    images, texts = pair
    with edited(study, edit) as model:
        ours = model(images, texts)
    theirs = study.model.run_with_hooks_with_saes(
        images,
        texts,
        saes=[study.sae],
        use_error_term=True,
        fwd_hooks=edit_hooks(study, edit),
    )
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("huge", [1e38, 1e300])
def test_codes_that_overflow_are_told(study, pair, edit, huge):
    far = FeatureEdit.add(study, huge, latents=edit.latents)
    for asked, strength in ((far, 1.0), (edit, huge), (edit.with_relative_norm(huge), 1.0)):
        with (
            pytest.raises(UserError, match="This edit overflows"),
            edited(study, asked, strength=strength) as model,
        ):
            model(*pair)
    with pytest.raises(UserError, match="This edit overflows: a strength of 1 and amounts of"):
        similarities(study, study.store.open_image(0), pair[1], far)


def test_the_empty_edit_changes_no_bit(study, pair):
    plain = study.model(*pair)
    with edited(study, FeatureEdit.none(study)) as model:
        same = model(*pair)
    assert torch.equal(plain[0], same[0]) and torch.equal(plain[1], same[1])


def test_similarity_without_latents_is_that_of_the_edited_model(study, pair, edit):
    picture, caption = study.store.open_image(0), pair[1][0]
    with edited(study, edit) as model:
        image, text = model(*pair)
    assert study.without(edit.latents, picture, caption) == pytest.approx(
        float(torch.nn.functional.cosine_similarity(image, text)), abs=1e-5
    )


def test_contributions_add_up_to_the_similarity(study, pair):
    picture, caption = study.store.open_image(0), pair[1][0]
    image, text = (rows[0].double() for rows in study.model(*pair))
    found = study.compare(picture, caption)
    assert found.similarity == pytest.approx(float(image @ text), abs=1e-6)
    for side, own, other in ((found.image, image, text), (found.text, text, image)):
        assert side.total == pytest.approx(found.similarity, abs=1e-6)
        directions = study.sae.W_dec.detach().double()
        assert torch.allclose(side.by_latent, side.codes * (directions @ other), atol=1e-6)
        assert side.bias == pytest.approx(float(study.sae.b_dec.double() @ other), abs=1e-6)
        latent, most = side.most(1)[0]
        assert most == float(side.by_latent[latent]) and abs(most) == side.by_latent.abs().max()
        reconstructed = side.codes @ directions + study.sae.b_dec.detach().double()
        assert side.error == pytest.approx(float((own - reconstructed) @ other), abs=1e-6)


def test_similarities_are_cosines_where_vectors_are_long(projected, pair):
    """At hook_proj nothing has unit length."""
    texts = pair[1]
    picture = projected.store.open_image(0)
    similarity = float(torch.nn.functional.cosine_similarity(*projected.model(*pair)))
    assert float(projected.model(*pair, normalize=False)[0].norm()) > 2
    found = projected.compare(picture, texts[0])
    assert found.similarity == pytest.approx(similarity, abs=1e-6)
    for side in (found.image, found.text):
        assert side.total == pytest.approx(similarity, abs=1e-6)
    latents = [latent for latent, _ in found.image.most(4)]
    edit = FeatureEdit.ablate(projected, latents=latents)
    (after,) = similarities(projected, picture, texts, edit)
    assert after != pytest.approx(similarity, abs=1e-3)
    assert projected.without(latents, picture, texts[0]) == pytest.approx(after, abs=1e-5)
    # What is amplified beyond all measure still has no cosine above 1.
    louder = FeatureEdit.scale(projected, 50, latents=latents)
    (loud,) = similarities(projected, picture, texts, louder)
    assert -1 <= loud <= 1


def test_a_relative_norm_is_relative_at_every_site(projected, pair):
    acts = [rows.detach() for rows in projected.model(*pair, normalize=False)]
    fired = [latent.latent for latent in projected.latents_of(text=pair[1][0], top=3)]
    edit = FeatureEdit.add(projected, 1, latents=fired).with_relative_norm(0.2)
    with torch.no_grad(), edited(projected, edit) as model:
        moved = model(*pair, normalize=False)
    with torch.no_grad():
        theirs = projected.model.run_with_hooks_with_saes(
            *pair,
            normalize=False,
            saes=[projected.sae],
            use_error_term=True,
            fwd_hooks=edit_hooks(projected, edit),
        )
    for before, after, same, modality in zip(acts, moved, theirs, ("image", "text"), strict=True):
        share = (after - before).norm(dim=-1) / before.norm(dim=-1)
        assert share == pytest.approx(0.2, abs=1e-4)
        assert torch.equal(after, same)
        steered, _ = AppliedEdit(projected, edit).vectors(before, modality)
        assert torch.allclose(steered, after, atol=1e-5)


@pytest.mark.usefixtures("any_types")
def test_what_cannot_be_edited_is_told(study, edit, pair):
    with (
        pytest.raises(UserError, match=r"Nothing passed 'vision\.hook_normalized"),
        edited(study, edit),
    ):
        pass
    unknown: Any = "x"
    with (
        pytest.raises(UserError, match="modalities are image and text"),
        edited(study, edit, unknown),
    ):
        pass
    with pytest.raises(UserError, match="There is no latent 192"):
        study.without([192], study.store.open_image(0), "a cup")
    with pytest.raises(KeyError), edited(study, edit):
        raise KeyError("not hidden")
    assert not study.model.acts_to_saes
