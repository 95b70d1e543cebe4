"""Evaluating a generator that finds pictures instead of drawing them: what is shown is known."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from mm_sae_plugin.applications.steering.arms import MIXED, baseline_arms, latent_arms
from mm_sae_plugin.applications.steering.claim import LEAST_CASES, claim_c6, slope, slopes
from mm_sae_plugin.applications.steering.evaluation import (
    DETAILS,
    MARKS,
    PROMPT_EDIT,
    UNMOVED,
    Reading,
    cases,
    evaluate,
)
from mm_sae_plugin.applications.steering.pictures import ssim
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, FactorWorld

N_CASES, N_SEEDS = 4, 2


class Gallery:
    """Draws a vector as the picture whose embedding is nearest, and reads its own pictures."""

    def __init__(self, study, references) -> None:
        self._model = study.model
        pairs = [FactorWorld(77).pair(index) for index in range(150)]
        pictures = [np.asarray(pair.image) for pair in pairs] + [c.picture for c in references]
        labels = [pair.labels for pair in pairs] + [c.reference.labels for c in references]
        self._pictures = np.stack(pictures)
        self._labels = {p.tobytes(): row for p, row in zip(pictures, labels, strict=True)}
        self.vectors = self._embedded(pictures)

    def _embedded(self, pictures):
        from PIL import Image

        with torch.no_grad():
            return self._model([Image.fromarray(picture) for picture in pictures])[0].detach()

    def embeddings(self, prompts, seeds):
        with torch.no_grad():
            texts = self._model(texts=list(prompts))[1].detach()
        return self.vectors[(texts @ self.vectors[:150].T).argmax(1)]

    def draw(self, vectors, seeds):
        unit = torch.nn.functional.normalize(vectors, dim=1)
        return self._pictures[(unit @ self.vectors.T).argmax(1).numpy()]

    def answers(self, pictures):
        rows = [self._labels[picture.tobytes()] for picture in pictures]
        return np.array(
            [
                [f.values.index(row[f"drawn.{f.name}"] or f.values[0]) for f in FACTORS.values()]
                for row in rows
            ]
        )

    def features(self, pixels):
        return pixels.flatten(1)


@pytest.fixture(scope="module")
def chosen():
    return cases(N_CASES)


@pytest.fixture(scope="module")
def readings(study, chosen):
    gallery = Gallery(study, chosen)
    arms = [*latent_arms(study), *baseline_arms(study)]
    references = gallery.vectors[-N_CASES:]
    found = evaluate(
        gallery, gallery, references, chosen, arms, [0.5, 3.0], N_SEEDS, progress=False
    )
    return {(reading.name, reading.strength): reading for reading in found}, arms


def test_cases_differ_in_what_is_said_and_leave_the_rest_open(chosen):
    for case in chosen:
        asked = case.reference.values
        assert sum(asked.get(name) != value for name, value in case.said.items()) >= 2
        assert not any(value in case.prompt for name in DETAILS for value in FACTORS[name].values)
        assert case.picture.shape == (64, 64, 3)


def test_what_leads_to_the_reference_shows_it(readings, chosen):
    found, arms = readings
    assert len(found) == 2 + 2 * len(arms)
    assert all(reading.n == N_CASES * N_SEEDS for reading in found.values())
    far = found["blend", 3.0]
    # Far along the blend the nearest picture is the reference itself.
    assert far.control.tolist() == far.kept.tolist() == [1.0] * N_CASES
    assert far.own.tolist() == [0.0] * N_CASES
    marked = [any(name in case.reference.drawn for name in MARKS) for case in chosen]
    assert (~np.isnan(far.marks)).tolist() == marked
    assert far.means()["marks"] == (1.0 if any(marked) else None)
    assert far.ssim == pytest.approx(1.0, abs=1e-5) and far.distance == pytest.approx(0, abs=1e-5)
    still = found[UNMOVED, 0.0]
    assert still.control.mean() < far.control.mean() and still.kept.mean() < far.kept.mean()
    (rewritten,) = (reading for name, reading in found.items() if name[0] == PROMPT_EDIT)
    assert rewritten.control.mean() > still.control.mean() and rewritten.strength > 0
    assert set(far.means()) >= {"name", "strength", "control", "kept", "ssim", "n"}


def _made(name, strength, control, kept):
    zero = np.zeros(len(control))
    return Reading(name, strength, np.array(control), np.array(kept), zero, zero, zero, zero, 10)


@pytest.mark.parametrize(
    ("text", "image", "verdict"),
    [
        (([0.8, 0.9, 0.7], [0.1, 0.0, 0.1]), ([0.2, 0.3, 0.1], [0.8, 0.7, 0.9]), "supported"),
        (([0.2, 0.3, 0.1], [0.8, 0.7, 0.9]), ([0.8, 0.9, 0.7], [0.1, 0.0, 0.1]), "not supported"),
        # Neither controls anything: no advantage, however certain the other half is.
        (([0.0, 0.0, 0.0], [0.1, 0.2, 0.1]), ([0.0, 0.0, 0.0], [0.9, 1.0, 0.9]), "not supported"),
        (([0.2, 0.9, 0.1], [0.1, 0.7, 0.2]), ([0.8, 0.2, 0.3], [0.2, 0.1, 0.7]), "undecided"),
    ],
)
def test_the_verdict_follows_the_slopes(text, image, verdict):
    # Twice as many cases, which is what a verdict needs.
    text, image = ([2 * values for values in given] for given in (text, image))
    made = [
        _made(UNMOVED, 0.0, [0.0] * 6, [0.0] * 6),
        _made("TextD", 1.0, *text),
        _made("ImgD", 1.0, *image),
    ]
    found = claim_c6(made)
    assert found.verdict == verdict and f"{found.control.value:+.3f}" in found.reason
    assert "CrossD" not in found.reason
    shared = [*made, _made("CrossD", 0.5, [0.4] * 6, [0.1] * 6)]
    assert claim_c6(shared).reason.startswith(found.reason)
    assert "CrossD gains +0.800 [" in claim_c6(shared).reason
    assert slopes(made, "TextD", "control") == pytest.approx(text[0])
    with pytest.raises(UserError, match="There is no arm 'CrossD': choose of none, TextD, ImgD"):
        slopes(made, "CrossD", "kept")


@pytest.mark.parametrize("n", [2, 5, 6, 24])
def test_few_cases_that_happen_to_be_alike_decide_nothing(n):
    same = [_made(name, float(name != UNMOVED), [0.0] * n, [0.0] * n) for name in (UNMOVED, *MIXED)]
    found = claim_c6(same)
    assert (found.control.low, found.control.high) == (0.0, 0.0)
    is_enough = n >= LEAST_CASES
    assert found.verdict == ("not supported" if is_enough else "undecided")
    assert (f"{n} cases are too few for a verdict: 6 are the least" in found.reason) != is_enough


def test_the_least_number_of_cases_is_that_of_a_sign_test():
    p_value = [binomtest(n, n).pvalue for n in (LEAST_CASES - 1, LEAST_CASES)]
    assert p_value[0] > 0.05 > p_value[1]


def test_an_interval_of_slopes_is_students():
    found = slope(np.array([1.0, 2.0, 3.0]))
    # t with 2 degrees of freedom at 97.5% is 4.3027.
    assert (found.value, found.high) == (2.0, pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3))


def test_ssim_is_one_for_the_same_picture_and_falls_with_noise():
    chance = torch.Generator().manual_seed(0)
    one = torch.rand(2, 3, 64, 64, generator=chance)
    noisy = (one + 0.1 * torch.randn(one.shape, generator=chance)).clamp(0, 1)
    assert torch.allclose(ssim(one, one), torch.ones(2))
    # Flat pictures of two levels: only the luminance term is left.
    flat, other = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.25)
    expected = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert float(ssim(flat, other)) == pytest.approx(expected, abs=1e-4)
    assert 0.5 < float(ssim(one, noisy).mean()) < 1
