"""What gaps hang on: wording and background move them where they must, and nothing else does."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from mm_sae_plugin.applications.bias.embedding import embed_pictures
from mm_sae_plugin.applications.bias.evidence import Evidence
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.sensitivity import (
    TEXTURES,
    blurred_around,
    sensitivity_of_images,
    sensitivity_of_twins,
)
from mm_sae_plugin.applications.bias.twins import GENDER, TWIN_SEED, draw_twins
from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.models import load_model

N_PER_TARGET = 2


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld-biased")


@pytest.fixture(scope="module")
def prompts():
    everything = factorworld_prompts()
    return replace(everything, templates=everything.templates[:3])


@pytest.fixture(scope="module")
def pictures():
    twins = draw_twins(GENDER, N_PER_TARGET)
    return [*twins.first, *twins.second]


@pytest.fixture(scope="module")
def evidence(model, prompts):
    return Evidence.of_twins(model, draw_twins(GENDER, N_PER_TARGET), prompts)


@pytest.fixture(scope="module")
def found(model, prompts):
    return sensitivity_of_twins(model, prompts, N_PER_TARGET)


def test_every_change_is_told_beside_the_whole(found, evidence):
    assert found.whole == pytest.approx(evidence.summary(evidence.gaps()))
    assert [change.name for change in found.changes] == [
        "blur around the middle, 3% of the shorter side",
        "blur around the middle, 10% of the shorter side",
        *(f"another {factor}" for factor in TEXTURES),
    ]
    for change in found.changes:
        assert change.relative == pytest.approx((change.summary - found.whole) / abs(found.whole))
        # The model does see the background.
        assert change.gaps.keys() == found.gaps.keys() and change.gaps != found.gaps
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["whole"] == found.whole


def test_a_template_is_measured_as_if_it_were_the_only_one(found, model, prompts):
    for template, summary in found.templates.by_template.items():
        alone = replace(prompts, templates=(template,))
        evidence = Evidence.of_twins(model, draw_twins(GENDER, N_PER_TARGET), alone)
        assert summary == pytest.approx(evidence.summary(evidence.gaps()), abs=1e-4)
    summaries = found.templates.by_template.values()
    assert (found.templates.least, found.templates.greatest) == (min(summaries), max(summaries))
    assert found.templates.same_sign == 1.0 and 0.5 < found.templates.same_sign_targets <= 1


def test_targets_may_have_several_words(model, evidence, prompts, pictures):
    words = {name: (name, f"{name} today") for name in prompts.targets}
    several = replace(prompts, targets=words)
    twins = draw_twins(GENDER, N_PER_TARGET)
    found = sensitivity_of_images(
        model, Evidence.of_twins(model, twins, several), several, pictures.__getitem__, ()
    )
    template = prompts.templates[1]
    alone = Evidence.of_twins(model, twins, replace(several, templates=(template,)))
    expected = alone.summary(alone.gaps())
    assert found.templates.by_template[template] == pytest.approx(expected, abs=1e-4)


def test_without_a_change_nothing_moves(model, evidence, prompts, pictures):
    found = sensitivity_of_images(model, evidence, prompts, pictures.__getitem__, blurs=(0.0,))
    (change,) = found.changes
    assert change.relative == pytest.approx(0, abs=1e-5)
    alike = replace(prompts, templates=(prompts.templates[0], prompts.templates[0]))
    same = Evidence.of_twins(model, draw_twins(GENDER, N_PER_TARGET), alike)
    spread = sensitivity_of_images(model, same, alike, pictures.__getitem__, ()).templates
    assert spread.least == spread.greatest and spread.same_sign_targets == 1


def test_a_gap_that_hangs_on_the_background_alone_goes_with_it(model, prompts):
    # Grey people, all alike: the two groups differ only in the stripes at the edge.
    def striped(step: int) -> Image.Image:
        pixels = np.full((64, 64, 3), 128, dtype=np.uint8)
        edge = np.asarray(blur_mask(64)) == 0
        stripes = (np.arange(64) // step % 2 * 255).astype(np.uint8)
        pixels[edge] = np.broadcast_to(stripes[None, :, None], (64, 64, 3))[edge]
        return Image.fromarray(pixels)

    pictures = [striped(1)] * 8 + [striped(2)] * 8
    asked = PromptSet(prompts.templates, {"nurse": ("nurse",), "pilot": ("pilot",)})
    groups = Groups(("woman",) * 8 + ("man",) * 8, least=8)
    images = embed_pictures(model, pictures)
    evidence = Evidence.of_groups(model, images, groups, asked, "woman")
    found = sensitivity_of_images(model, evidence, asked, pictures.__getitem__, (0.02, 0.2))
    weak, strong = (change.summary for change in found.changes)
    assert found.whole > 0.5 and strong < 0.2 * found.whole and strong < weak
    assert found.templates.same_sign is None


def blur_mask(side: int) -> Image.Image:
    """White where a picture stays as it is: a blur of black and white stripes leaves no others."""
    stripes = np.zeros((side, side, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    blurred = np.asarray(blurred_around(Image.fromarray(stripes), 0.2))
    return Image.fromarray(((blurred == stripes).all(2) * 255).astype(np.uint8))


def test_only_what_lies_around_the_middle_is_blurred():
    mask = np.asarray(blur_mask(64)) == 255
    assert mask[32, 32] and mask[32, 12] and mask[4, 32]
    assert not mask[32, 2] and not mask[0, 0] and not mask[63, 63]
    assert 0.4 < mask.mean() < 0.6
    picture = draw_twins(GENDER, N_PER_TARGET).first[0]
    assert blurred_around(picture, 0).tobytes() == picture.tobytes()


@pytest.mark.parametrize("factor", TEXTURES)
def test_twins_are_drawn_again_with_one_more_thing_changed(factor):
    usual = draw_twins(GENDER, N_PER_TARGET)
    other = draw_twins(GENDER, N_PER_TARGET, redrawn=factor)
    assert other.targets == usual.targets and other.flip == usual.flip
    world, values = FactorWorld(TWIN_SEED), FACTORS[factor].values
    for index, occupation in enumerate(usual.targets):
        was = world.scene(index).values[factor]
        value = values[(values.index(was) + 1) % len(values)]
        asked = {"occupation": occupation, "gender": "woman"}
        again = world.pair_with(index, asked | {factor: was}, "person").image
        assert again.tobytes() == usual.first[index].tobytes()
        drawn = world.pair_with(index, asked | {factor: value}, "person").image
        assert drawn.tobytes() == other.first[index].tobytes() != again.tobytes()
        changed = torch.from_numpy(np.asarray(other.first[index]) != np.asarray(again))
        # The rest of the card is the same.
        assert 0 < changed.any(2).float().mean() < 0.9
