"""Detectors find what is planted and nothing else, and are what they say they are."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import normalize

from mm_sae_plugin.applications.defense.detection import (
    ATTACK_LATENTS,
    DETECTORS,
    INVERSE_PENALTY,
    LOGISTIC,
    LOGISTIC_ON_VECTORS,
    RECONSTRUCTION_ERROR,
    fit_detector,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.auroc import auroc
from mm_sae_plugin.study import Study


@pytest.fixture(scope="module")
def study(small_sae):
    return Study.open(small_sae)


@pytest.fixture(scope="module")
def rows(study):
    """Five sets of images: fitted on, attacked, held out, and two to judge on."""
    rows = study.store.image_rows()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order].split(100)


@pytest.fixture(scope="module")
def planted(study):
    """What adds one latent to an image, or what no latent stands for, and brings it to length 1."""
    noise = normalize(torch.randn(128, generator=torch.Generator().manual_seed(1)), dim=0)

    def plant(clean, name=LOGISTIC):
        added = 2 * noise if name == RECONSTRUCTION_ERROR else study.feature_map.directions[16]
        return normalize(clean + added, dim=1)

    return plant


def fitted(study, rows, attacked, name):
    return fit_detector(study.feature_map, rows[0], rows[2], attacked, name)


def area(detector, positive, negative):
    with torch.no_grad():
        scores = [detector.score(one).double().numpy() for one in (positive, negative)]
    found = auroc(*scores)
    assert found.low is not None and found.high is not None
    return found.low, found.high


@pytest.mark.parametrize("name", DETECTORS)
def test_what_is_planted_is_found(study, rows, planted, name):
    detector = fitted(study, rows, planted(rows[1], name), name)
    found = planted(rows[4], name)
    low, _ = area(detector, found, rows[3])
    assert low > 0.9
    assert (detector.score(found) > detector.threshold).float().mean() > 0.5


@pytest.mark.parametrize("name", DETECTORS)
def test_where_there_is_nothing_to_find_nothing_is_found(study, rows, name):
    low, high = area(fitted(study, rows, rows[1], name), rows[4], rows[3])
    assert low < 0.5 < high


@pytest.mark.parametrize("name", DETECTORS)
def test_the_threshold_lets_clean_images_pass(study, rows, planted, name):
    detector = fitted(study, rows, planted(rows[1]), name)
    scores = detector.score(rows[2])
    assert 0.03 <= (scores > detector.threshold).float().mean() <= 0.05
    assert scores.mean().abs() < 1e-4 and scores.std() == pytest.approx(1, abs=1e-3)
    wide = fit_detector(study.feature_map, rows[0], rows[2], planted(rows[1]), name, 0.3)
    assert wide.threshold < detector.threshold


@pytest.mark.parametrize("name", DETECTORS)
def test_attacks_can_go_through_every_detector(study, rows, planted, name):
    detector = fitted(study, rows, planted(rows[1]), name)
    moved = planted(rows[4]).requires_grad_()
    (gradient,) = torch.autograd.grad(detector.score(moved).sum(), moved)
    assert (gradient.norm(dim=1) > 0).all()
    with torch.no_grad():
        after = detector.score(moved - 1e-3 * normalize(gradient, dim=1))
        fallen = detector.score(moved) - after
    # As far as the gradient says, on most: a latent may begin to fire within the step.
    assert ((fallen / (1e-3 * gradient.norm(dim=1)) - 1).abs() < 0.05).float().mean() > 0.8


def test_the_regression_is_that_of_scikit_learn(study, rows, planted):
    attacked = planted(rows[1])
    detector = fitted(study, rows, attacked, LOGISTIC_ON_VECTORS)
    both, judged = torch.cat([rows[0], attacked]).double(), rows[3].double()
    unit = both.std(correction=0)
    model = LogisticRegression(C=INVERSE_PENALTY)
    model.fit((both / unit).numpy(), [0] * 100 + [1] * 100)
    logits = torch.from_numpy(model.decision_function((judged / unit).numpy()))
    found = detector.score(rows[3]).double()
    line = (logits - logits.mean()) / logits.std() * found.std() + found.mean()
    torch.testing.assert_close(found, line, atol=1e-2, rtol=0)


def test_attack_latents_are_those_that_attacks_raise(study, rows):
    codes = study.feature_map.encode(rows[1], "image")
    raised = int(codes.sum(0).argmax())
    attacked = normalize(rows[1] + study.feature_map.directions[raised], dim=1)
    detector = fitted(study, rows, attacked, ATTACK_LATENTS)
    moved = rows[3].clone().requires_grad_()
    fires = study.feature_map.encode(rows[3], "image")[:, raised] > 0
    (gradient,) = torch.autograd.grad(detector.score(moved).sum(), moved)
    assert (gradient[fires] @ study.feature_map.directions[raised] > 0).all() and fires.any()
    # Nothing is raised: nobody is suspicious.
    none = fit_detector(study.feature_map, rows[0], rows[2], rows[0], ATTACK_LATENTS)
    assert none.score(rows[3]).equal(torch.zeros(100)) and none.threshold == 0


def test_bad_input_is_one_sentence(study, rows):
    feature_map, clean, held_out = study.feature_map, rows[0], rows[2]
    with pytest.raises(UserError, match="no detector 'magic': choose from attack latents"):
        fit_detector(feature_map, clean, held_out, clean, "magic")
    with pytest.raises(UserError, match="'logistic' is fitted on clean and on attacked images"):
        fit_detector(feature_map, clean, held_out, None, LOGISTIC)
    with pytest.raises(UserError, match="false positives must lie between 0 and 1, not 1"):
        fit_detector(feature_map, clean, held_out, clean, false_positives=1.0)
    with pytest.raises(UserError, match=r"19 held-out .* share of 0.05: give at least 20"):
        fit_detector(feature_map, clean, held_out[:19], None, RECONSTRUCTION_ERROR)
