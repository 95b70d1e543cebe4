"""Twins differ in one thing, and their gaps are those of that thing."""

import numpy as np
import pytest
import torch

from mm_sae_plugin.applications.bias.contrast import pooled
from mm_sae_plugin.applications.bias.embedding import embed_pictures, embed_texts
from mm_sae_plugin.applications.bias.prompts import factorworld_prompts
from mm_sae_plugin.applications.bias.twin_audit import audit_twins
from mm_sae_plugin.applications.bias.twins import (
    GENDER,
    NUISANCES,
    draw_twins,
    gaps_of_pairs,
    spread,
    twin_contrast,
)
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.models import load_model

N_PER_TARGET = 2


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld-biased")


@pytest.fixture(scope="module")
def twins():
    return draw_twins(n_per_target=N_PER_TARGET)


def test_twins_share_all_but_the_flip(twins):
    assert len(twins.targets) == N_PER_TARGET * 8 and set(twins.targets) == set(
        FACTORS["occupation"].values
    )
    for first, second in zip(twins.first, twins.second, strict=True):
        differs = (np.asarray(first) != np.asarray(second)).any(-1)
        # Hair and face change; the card around the person does not.
        assert 0 < differs.mean() < 0.25
    again = draw_twins(n_per_target=N_PER_TARGET)
    assert all(
        (np.asarray(a) == np.asarray(b)).all()
        for a, b in zip(twins.first, again.first, strict=True)
    )


def test_no_value_stands_in_two_nuisance_flips_of_a_factor():
    used = [(factor, value) for factor, *values in NUISANCES for value in values]
    used = [pair for pair in used if pair[0] != "place"]
    assert len(used) == len(set(used)) and GENDER[0] not in {factor for factor, _ in used}


def test_the_contrast_is_the_mean_over_pairs(model, twins):
    prompts = factorworld_prompts().prompts
    scale = float(model.logit_scale.detach().exp())
    contrast = twin_contrast(twins, scale)
    images = embed_pictures(model, [*twins.first, *twins.second])
    torch.testing.assert_close(images.norm(dim=1), torch.ones(len(images)))
    texts = embed_texts(model, [text for name in contrast.targets for text in prompts[name]])
    rows = pooled(texts, [len(prompts[name]) for name in contrast.targets])
    gaps = contrast.gaps(images, rows)
    by_target = dict(zip(contrast.targets, rows, strict=True))
    each = gaps_of_pairs(images, twins.targets, by_target, scale)
    for name, values in each.items():
        assert len(values) == N_PER_TARGET
        assert gaps[name] == pytest.approx(float(values.mean()), abs=1e-4)
    assert spread(gaps) == pytest.approx(float(np.std([v.mean() for v in each.values()])), abs=1e-4)


def test_the_planted_association_is_found_in_the_variant_and_not_in_the_plain_model(model):
    biased = audit_twins(model, n_per_target=N_PER_TARGET)
    assert biased.direction.signed > 1.5 and biased.direction.n_following == 8
    assert biased.direction.p == pytest.approx(1 / 70) and "The gaps follow" in biased.verdict
    assert biased.n_larger == 0 and len(biased.nuisances) == len(NUISANCES)
    nurse, builder = biased.targets["nurse"], biased.targets["builder"]
    assert nurse.gap > 1 and builder.gap < -1
    assert nurse.interval.low <= nurse.gap <= nurse.interval.high
    plain = audit_twins(load_model("factorworld"), n_per_target=N_PER_TARGET)
    assert abs(plain.direction.signed) < 0.6 and plain.direction.p > 0.05
    assert "do not follow" in plain.verdict and plain.spread < biased.spread / 2
