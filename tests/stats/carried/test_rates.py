"""The ratio of rates follows exactly from perfect readings."""

import itertools

import numpy as np
import pytest

from mm_sae_plugin.stats.carried.calibration import Calibrated, calibrate
from mm_sae_plugin.stats.carried.rates import bounds, rate_ratio

RATES = [0.05, 0.15, 0.4, 0.7, 1.0]


def readings(own: float, other: float, base: float, exclusive: bool) -> list[Calibrated]:
    """What is read without error: probabilities of firing, with the shares of pairs they hold."""
    fires = base * own
    if exclusive:
        # Another value of the factor is shown, or nothing.
        levels = [own, 0.0, fires]
        shares = [base * other, (1 - base) * other, 1 - other]
    else:
        levels = [own, fires * (1 - other) / (1 - base * other)]
        shares = [base * other, 1 - base * other]
    n = 1e6
    both = np.array(levels) * np.array(shares) * n
    silent = np.array(shares) * n - both
    order = np.argsort(levels)
    return [
        calibrate(np.array([[0.0, fires * n]]), np.array([[(1 - fires) * n, 0.0]])),
        calibrate(both[order][None], silent[order][None]),
    ]


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("base", [0.02, 1 / 6, 0.5])
@pytest.mark.parametrize(("own", "other"), itertools.product(RATES, RATES))
def test_perfect_readings_give_the_ratio(own, other, base, exclusive):
    found = rate_ratio(np.array([base * own]), *readings(own, other, base, exclusive))
    assert found.ratio == pytest.approx(other / own, rel=1e-6)
    assert found.disagreement == pytest.approx(0, abs=1e-6)
    assert 0 < found.carry <= own * other * (1 + 1e-9)


def test_carry_is_the_other_rate_where_the_own_side_always_shows():
    for other in RATES:
        found = rate_ratio(np.array([0.1]), *readings(1.0, other, 0.1, exclusive=True))
        assert found.carry == pytest.approx(other)


def test_no_rate_above_one_is_believed():
    rate = np.full(5, 0.1)
    carry = np.array([1.0, 0.5, 0.1, 1e-3, 1e-9])
    least, most = bounds(carry, rate)
    assert np.array_equal(least, carry)
    assert (most >= least).all() and most[0] == pytest.approx(1)
    # The concept cannot be there more often than two times in three.
    assert (np.diff(most[2:]) < 0).all()


def test_a_weak_reading_of_a_common_latent_is_little_carry():
    # It fires on 30% and hardly more often where the other side's reading is highest.
    counts = np.array([[0.29, 0.31]]) * 5000
    other = calibrate(counts, 5000 - counts)
    perfect = calibrate(np.array([[0.0, 3000.0]]), np.array([[7000.0, 0.0]]))
    found = rate_ratio(np.array([0.3]), perfect, other)
    assert found.ratio[0] < 0.01
