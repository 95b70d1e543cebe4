"""Shares with Wilson's interval, against values that are published."""

import pytest

from mm_sae_plugin.stats.shares import Share


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I: the score method without correction.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(count, n, low, high):
    share = Share.of(count, n)
    assert share.low == pytest.approx(low, abs=5e-5)
    assert share.high == pytest.approx(high, abs=5e-5)
    assert share.value == count / n


def test_nothing_to_take_a_share_of():
    share = Share.of(0, 0)
    assert share.record() == {"value": None, "low": None, "high": None, "count": 0, "n": 0}
    assert str(share) == "none of 0"


def test_it_is_said_with_its_interval():
    assert str(Share.of(81, 263)) == "81 of 263 (31%, 26–37%)"
