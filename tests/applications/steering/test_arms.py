"""Arms go where they say, and as far as they are told."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from mm_sae_plugin.applications.steering import mix
from mm_sae_plugin.applications.steering.arms import MIXED, baseline_arms, latent_arms, moved
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions.applied import AppliedEdit


@pytest.fixture(scope="module")
def vectors(study):
    rows = study.store.image_rows()
    return rows[:6] * 3, rows[6:7].expand(6, -1)


def test_every_arm_moves_as_far_as_it_is_told(study, vectors):
    arms = [*latent_arms(study), *baseline_arms(study)]
    assert len({arm.name for arm in arms}) == len(arms)
    for arm in arms:
        for strength in (0.0, 0.3):
            change = moved(arm, *vectors, strength=strength) - vectors[0]
            share = change.norm(dim=1) / vectors[0].norm(dim=1)
            # Where no latent of the arm differs there is nowhere to go.
            stays = arm.direction(*(normalize(rows, dim=1) for rows in vectors)).norm(dim=1) < 1e-9
            expected = torch.where(stays, 0.0, strength)
            assert torch.allclose(share, expected, atol=1e-5), arm.name
            assert not stays.all() or arm.kind == "class"
    with pytest.raises(UserError, match="strength must be 0 or more"):
        moved(arms[0], *vectors, strength=-1.0)
    blend = next(arm for arm in arms if arm.name == "blend")
    for strength in (1e30, 1e38, 1e300, float("inf")):
        with pytest.raises(UserError, match="moves vectors beyond all numbers: give a smaller"):
            moved(blend, *vectors, strength=strength)


def test_a_class_arm_is_the_mixer_at_a_stated_length(study, vectors):
    arms = {arm.name: arm for arm in latent_arms(study)}
    reference = study.store.open_image(6)
    for name in MIXED:
        if not study.labels.latents(name):
            assert name not in arms
            continue
        assert arms[name].n_latents == len(study.labels.latents(name))
        edit = mix(study, {name: 1.0}, image=reference).with_relative_norm(0.3)
        edited, _ = AppliedEdit(study, edit).vectors(vectors[0], "image")
        assert torch.allclose(moved(arms[name], *vectors, strength=0.3), edited, atol=1e-4)


def test_random_latents_are_as_many_alive_and_drawn_anew(study):
    for seed in (0, 1):
        arms = {arm.name: arm for arm in latent_arms(study, seed)}
        for name in MIXED:
            if name in arms:
                assert arms[f"random as {name}"].n_latents == arms[name].n_latents
                assert arms[f"random as {name}"].kind == "random"


def test_the_whole_swap_is_the_blend_without_the_errors(study, vectors):
    """With all latents swapped, only what the SAE does not explain is missing."""
    prompts, references = (normalize(rows, dim=1) for rows in vectors)
    blend = next(arm for arm in baseline_arms(study) if arm.name == "blend")
    decoded = [
        study.feature_map.decode(study.feature_map.encode(rows, "image"), "image")
        for rows in (prompts, references)
    ]
    cosine = cosine_similarity(blend.direction(prompts, references), decoded[1] - decoded[0])
    assert cosine.detach().min() > 0.5
