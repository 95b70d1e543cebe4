"""Modality mixers say what they do: their formula, and what they refuse."""

from typing import Any

import pytest
import torch

from mm_sae_plugin.applications.steering import mix
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.applied import AppliedEdit


def test_each_class_goes_its_own_share_of_the_way(study):
    acts, reference = study.store.image_rows()[:4], study.store.open_image(9)
    strengths = {"ImgD": 0.5, "CrossD": 0.0, "TextD": -1.5}
    edited, _ = AppliedEdit(study, mix(study, strengths, image=reference)).vectors(acts, "image")
    codes = study.feature_map.encode(acts, "image")
    of_reference, _ = study.codes(images=[reference])
    expected = acts.clone()
    for name, strength in strengths.items():
        mask = torch.zeros(codes.shape[1])
        mask[study.labels.latents(name)] = strength
        expected += ((of_reference - codes) * mask) @ study.feature_map.directions
    torch.testing.assert_close(edited, expected, atol=1e-5, rtol=1e-4)
    # All of every class is the reference, up to what the SAE does not reconstruct.
    everything = FeatureEdit.replace(study, reference, mask=torch.ones(128, dtype=torch.bool))
    swapped, _ = AppliedEdit(study, everything).vectors(acts, "image")
    decoded = study.feature_map.decode(of_reference, "image")
    error = acts - study.feature_map.decode(codes, "image")
    torch.testing.assert_close(swapped, decoded + error, atol=1e-5, rtol=1e-4)


def test_latents_and_concepts_are_added_after(study):
    latent = study.latents_of(text="two red cars", top=1)[0].latent
    edit = mix(study, {}, latents={latent: 1.0}, concepts={latent: -0.5})
    added = FeatureEdit.add(study, 1.0, latents=[latent])
    assert edit == added + FeatureEdit.add(study, -0.5, concepts=[latent])
    assert mix(study, {"ImgD": 0.0}, latents={latent: 0.0}) == FeatureEdit.none(study)


def test_what_cannot_be_mixed_is_told(study):
    reference = study.store.open_image(0)
    given: Any
    for strengths, given, message in (
        ({"Image": 1.0}, {"image": reference}, "There is no class 'Image': choose of ImgD"),
        ({"ImgD": 1.0}, {}, "Give one reference"),
        ({"ImgD": float("nan")}, {"image": reference}, "share must be a finite number"),
        ({}, {"latents": {500: 1.0}}, "There is no latent 500"),
    ):
        with pytest.raises(UserError, match=message):
            mix(study, strengths, **given)
