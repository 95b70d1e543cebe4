"""Any array of scores against known rates."""

import pytest
import torch

from mm_sae_plugin.stats.score_check import check_scores
from mm_sae_plugin.stats.truth import LatentTruth

RATES = {"ground": (1.0, 0.4), "colour": (1.0, 1.0), "tag": (0.4, 1.0)}
NAN = float("nan")


def latent(index: int, factor: str, eta2: float = 0.9) -> LatentTruth:
    drawn, said = RATES[factor]
    modality = "CrossD" if drawn == said else "ImgD" if drawn > said else "TextD"
    dominance = drawn / (drawn + said)
    return LatentTruth(index, "image", factor, "", eta2, True, dominance, modality)


def check(latents, scores, half_width=0.02, **options):
    values = torch.tensor(scores, dtype=torch.float64)
    return check_scores(
        latents,
        values,
        torch.stack([values - half_width, values + half_width], -1),
        RATES,
        **options,
    )


def test_order_nearness_and_intervals_are_judged_apart():
    latents = [latent(0, "ground"), latent(1, "ground"), latent(3, "colour"), latent(4, "tag")]
    # Latent 2 is not alive. The truths are .714, .714, .5 and .286.
    found = check(latents, [0.71, 0.77, 0.0, 0.45, 0.40])
    assert {name: contrast.value for name, contrast in found.contrasts.items()} == {
        "ImgD_vs_TextD": 1.0,
        "ImgD_vs_shared": 1.0,
        "TextD_vs_shared": 1.0,
    }
    assert found.n == {"ImgD": 2, "CrossD": 1, "TextD": 1}
    assert found.within == pytest.approx(3 / 4)
    assert found.coverage == pytest.approx(1 / 4)
    medians = {row.factor: row.median for row in found.calibration.rows}
    assert medians == pytest.approx({"ground": 0.74, "colour": 0.45, "tag": 0.40})


def test_what_is_undecidable_is_counted_and_left_out():
    latents = [latent(0, "ground"), latent(1, "ground"), latent(2, "tag"), latent(3, "tag")]
    found = check(latents, [0.71, NAN, 0.29, NAN])
    assert (found.n_following, found.n_undecidable) == (4, 2)
    assert found.n == {"ImgD": 1, "CrossD": 0, "TextD": 1}
    assert (found.within, found.coverage) == (1.0, 1.0)
    assert found.contrasts["ImgD_vs_TextD"].value == 1.0
    assert found.contrasts["ImgD_vs_shared"].value is None


def test_a_latent_follows_a_factor_that_explains_enough():
    latents = [latent(0, "ground", 0.6), latent(1, "ground", 0.3), latent(2, "ground", 0.1)]
    assert check(latents, [0.7, 0.1, 0.1]).n_following == 1
    assert check(latents, [0.7, 0.1, 0.1], min_eta2=0.2).within == pytest.approx(1 / 2)


def test_nothing_to_say_is_none():
    found = check([], [0.5])
    assert (found.within, found.coverage, found.n_following) == (None, None, 0)
