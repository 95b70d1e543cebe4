"""Steering a search: the rankings are those of plain cosines, before and after the edit."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from mm_sae_plugin import Study
from mm_sae_plugin.activations import ExtractConfig
from mm_sae_plugin.applications.steering import Gallery, mix
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.applied import AppliedEdit
from tests.labelled import labelled_sae

QUERY = "two red cars"


@pytest.fixture(scope="module")
def gallery(study) -> Gallery:
    return Gallery(study)


def _ranked(study, vector):
    similarities = cosine_similarity(study.store.image_rows(), vector)
    return similarities.argsort(descending=True, stable=True).tolist(), similarities


def test_rankings_are_those_of_the_moved_query(gallery, study):
    edit = FeatureEdit.replace(study, study.store.open_image(9), mask=torch.ones(128).bool())
    found = gallery.rerank(edit, text=QUERY, top=7)
    with torch.no_grad():
        _, query = study.acts(texts=[QUERY])
        moved, _ = AppliedEdit(study, edit).vectors(query, "text")
    before, similarities = _ranked(study, query)
    after, _ = _ranked(study, moved)
    assert len(gallery) == len(before)
    assert [one.image for one in found.before] == before[:7]
    assert [one.image for one in found.after] == after[:7] != before[:7]
    assert [one.rank for one in found.after] == list(range(1, 8))
    assert [one.rank_before for one in found.after] == [before.index(i) + 1 for i in after[:7]]
    assert found.before[0].similarity == pytest.approx(float(similarities[before[0]]), abs=1e-5)
    distance = float((moved - query).norm() / query.norm())
    assert found.moved == pytest.approx(distance, rel=1e-4) and found.latents


def test_all_of_a_reference_finds_it(gallery, study):
    """A picture that is pulled all the way to another one is found beside it."""
    reference = study.store.open_image(9)
    edit = FeatureEdit.replace(study, reference, mask=torch.ones(128).bool())
    found = gallery.rerank(edit, image=study.store.open_image(2), top=3)
    assert found.before[0].image == 2
    ranks = [one.image for one in gallery.rerank(edit, image=reference, top=3).before]
    assert ranks[0] == 9 and 9 in [one.image for one in found.after]


def test_the_empty_edit_changes_nothing(gallery, study):
    found = gallery.rerank(mix(study, {"ImgD": 0.0}), text=QUERY)
    assert found.before == found.after and (found.moved, found.latents) == (0.0, [])
    assert all(one.rank == one.rank_before for one in found.after)


@pytest.mark.parametrize("huge", [1e38, 1e300])
def test_a_query_that_overflows_is_told(gallery, study, huge):
    edit = FeatureEdit.replace(study, study.store.open_image(9), mask=torch.ones(128).bool())
    latents = [found.latent for found in study.latents_of(text=QUERY, top=2)]
    for one in (edit.with_relative_norm(huge), FeatureEdit.add(study, huge, latents=latents)):
        with pytest.raises(UserError, match="This edit overflows"):
            gallery.rerank(one, text=QUERY)


def test_bad_searches_are_sentences(gallery, study):
    none = FeatureEdit.none(study)
    with pytest.raises(UserError, match=r"one caption .* or one picture"):
        gallery.rerank(none)
    with pytest.raises(UserError, match="caption is empty"):
        gallery.rerank(none, text=" ")
    with pytest.raises(UserError, match="top must be a whole number"):
        gallery.rerank(none, text=QUERY, top=0)
    with pytest.raises(UserError, match="of the SAE another"):
        gallery.rerank(FeatureEdit((), "another", study.weights_id), text=QUERY)


def test_an_sae_inside_a_tower_has_no_search(tmp_path):
    sites = ExtractConfig("vision.hook_pooled", "text.hook_pooled")
    sae = labelled_sae(
        tmp_path,
        150,
        sites=sites,
        d_sae=32,
        k=4,
        training_steps=20,
        train_batch_size_samples=64,
    )
    inside = Study.open(sae)
    with pytest.raises(UserError, match="does not sit in the space that pictures and captions"):
        Gallery(inside)
