"""What is left of a gap without some latents."""

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.attribution import SIDES, Attribution
from mm_sae_plugin.applications.bias.contrast import contrast_of_groups, pooled
from mm_sae_plugin.stats.matched_sets import matched_sets
from mm_sae_plugin.study import Study

N = 60


@pytest.fixture(scope="module")
def study(small_sae):
    return Study.open(small_sae)


@pytest.fixture(scope="module")
def parts(study):
    """Images in two groups that differ in a latent, and two prompts for each target."""
    images = study.store.image_rows()[:N]
    codes = study.feature_map.encode(images, "image")
    latent = int(((codes > 0).float().mean(0) - 0.4).abs().argmin())
    is_first = (codes[:, latent] > 0).tolist()
    prompts = study.acts(texts=["a red car", "two red cars", "a blue cup", "a small blue cup"])[1]
    contrast = contrast_of_groups(is_first, None, ("car", "cup"), 50.0)
    return images, prompts, contrast, latent


@pytest.fixture(scope="module")
def attribution(study, parts):
    images, prompts, contrast, _ = parts
    return Attribution(
        study.feature_map, contrast, images, prompts, [2, 2], lambda gaps: gaps["car"]
    )


def one(study, latent):
    mask = torch.zeros(study.feature_map.n_features, dtype=torch.bool)
    mask[latent] = True
    return mask


def test_nothing_removed_leaves_the_gap_as_it_is(study, parts, attribution):
    images, prompts, contrast, _ = parts
    plain = contrast.gaps(normalize(images, dim=1), pooled(normalize(prompts, dim=1), [2, 2]))
    nothing = torch.zeros(study.feature_map.n_features, dtype=torch.bool)
    assert attribution.whole == pytest.approx(plain["car"], abs=1e-4)
    for side in SIDES:
        assert attribution.without(nothing, side) == pytest.approx(attribution.whole, abs=1e-5)


def test_the_latent_in_which_the_groups_differ_takes_much_of_the_gap(study, parts, attribution):
    latent = parts[-1]
    taken = attribution.by_latent("image")
    left = attribution.without(one(study, latent), "image")
    assert taken[latent] == pytest.approx(attribution.whole - left, abs=1e-5)
    assert latent in taken.abs().topk(5).indices.tolist()
    silent = (study.feature_map.encode(parts[0], "image") > 0).any(0) | (
        study.feature_map.encode(parts[1], "text") > 0
    ).any(0)
    assert (taken[~silent] == 0).all()


def test_sides_are_those_that_are_edited(study, parts, attribution):
    mask = one(study, parts[-1])
    gaps = attribution.gaps_without(mask, "image")
    assert gaps["car"] == pytest.approx(attribution.without(mask, "image"))
    assert attribution.without(mask, "image") != attribution.without(mask, "text")
    with pytest.raises(AssertionError):
        attribution.without(mask, "elsewhere")


def test_a_set_stands_beside_random_ones(study, attribution):
    mask = torch.tensor([name == "CrossD" for name in study.labels.classes])
    random = matched_sets(study.labels.statistics, mask, study.labels.alive, 5)
    row = attribution.removed("CrossD", mask, "both", random)
    assert row.n_latents == int(mask.sum()) and len(row.random) == 5 and row.moved > 0
    # What cannot be matched is moved equally far, which for the set itself is not its own ablation.
    norm = None if random.is_matched else row.moved
    assert row.value == pytest.approx(attribution.without(mask, "both", norm))
    assert attribution.reconstruction_only() != attribution.whole
