"""Calibration: medians of followers against the truth that two rates have."""

import numpy as np
import pytest

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.factorworld.truth import Rates
from mm_sae_plugin.stats.calibration import calibrate

RATES = {"colour": (1.0, 1.0), "light": (1.0, 0.25), "mood": (0.25, 1.0), "grain": (1.0, 0.0)}
SCORES = np.array([0.5, 0.7, 0.79, 0.81, 0.1, 0.1, 0.1, 1.0])
FOLLOWERS = {"colour": [0, 1], "light": [2, 3], "mood": [4, 5, 6], "grain": [7]}


def test_rows_state_truth_and_median_from_text_to_image():
    calibration = calibrate(SCORES, FOLLOWERS, RATES)
    rows = {row.factor: row for row in calibration.rows}
    assert list(rows) == ["mood", "colour", "light", "grain"]
    assert [row.truth for row in calibration.rows] == pytest.approx([0.2, 0.5, 0.8, 1.0])
    assert [row.modality for row in calibration.rows] == ["TextD", "CrossD", "ImgD", "ImgD"]
    assert [row.graded for row in calibration.rows] == [True, False, True, False]
    assert rows["light"].median == pytest.approx(0.8) and rows["light"].within
    assert rows["mood"].median == pytest.approx(0.1) and not rows["mood"].within
    # Only graded factors are counted: colour is off as well.
    assert not rows["colour"].within
    assert (calibration.n_graded, calibration.n_followed, calibration.share_within) == (2, 2, 0.5)


def test_a_factor_that_nothing_follows_has_no_median():
    (row,) = calibrate(SCORES, {"light": []}, {"light": (1.0, 0.25)}).rows
    assert (row.n_latents, row.median, row.quartiles, row.within) == (0, None, None, False)


def test_rates_come_from_factors_too():
    name = next(name for name, factor in FACTORS.items() if factor.is_graded)
    factor = FACTORS[name]
    given = (factor, Rates(factor.drawn, factor.said), (factor.drawn, factor.said))
    found = [calibrate(SCORES, {name: [2, 3]}, {name: rates}) for rates in given]
    assert found[0] == found[1] == found[2]
    assert found[0].rows[0].truth == factor.dominance


def test_rates_must_be_rates():
    with pytest.raises(UserError, match="cannot be drawn at the rate 0 and said at the rate 0"):
        calibrate(SCORES, {"colour": [0]}, {"colour": (0, 0)})
