"""Statistics held to worked examples that others published, with the figures that they print."""

import pytest
import torch

from mm_sae_plugin.applications.bias.permutation import proportion_interval
from mm_sae_plugin.stats import ModalityStatistics
from mm_sae_plugin.stats.agreement import cohen_kappa, krippendorff_alpha
from mm_sae_plugin.stats.intervals import firing_rates, wilson
from mm_sae_plugin.stats.significance import bonferroni, q_values

BENJAMINI_HOCHBERG = torch.tensor(
    [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
        *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
    ],
    dtype=torch.float64,
)
NEWCOMBE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


def ratings(*rows: str) -> list[list[str | None]]:
    """One rater a row, one letter a thing, a dot where there is no answer."""
    return [[None if answer == "." else answer for answer in row] for row in rows]


def test_alpha_of_two_observers_and_two_values():
    """Krippendorff, *Computing Krippendorff's Alpha-Reliability* (2011), A: ten things, 0.095."""
    assert krippendorff_alpha(ratings("0100000010", "1110010000")) == pytest.approx(0.095, abs=5e-4)


def test_alpha_of_two_observers_and_many_values():
    """Krippendorff (2011), B: twelve things in five categories, 0.692."""
    found = krippendorff_alpha(ratings("aabbdcccedda", "babbbccceddd"))
    assert found == pytest.approx(0.692, abs=5e-4)


def test_alpha_of_four_observers_with_missing_answers():
    """Krippendorff (2011), C: four observers, twelve things, some answers missing, 0.743."""
    found = krippendorff_alpha(
        ratings("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    )
    assert found == pytest.approx(0.743, abs=5e-4)


def test_kappa_of_two_judges():
    """Cohen, *A Coefficient of Agreement for Nominal Scales* (1960), table 2: 200 cases, .49."""
    table = {"aa": 88, "ab": 14, "ac": 18, "ba": 10, "bb": 40, "bc": 10, "ca": 2, "cb": 6, "cc": 12}
    first = "".join(cell[0] * n for cell, n in table.items())
    second = "".join(cell[1] * n for cell, n in table.items())
    assert len(first) == 200
    assert cohen_kappa(first, second) == pytest.approx(0.49, abs=5e-3)


def test_false_discovery_rate_of_fifteen_hypotheses():
    """Benjamini and Hochberg, *Controlling the False Discovery Rate* (1995), section 4.2: of these
    p-values their procedure rejects four at .05, and Bonferroni's three.
    """
    mixed = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    found = q_values(BENJAMINI_HOCHBERG[mixed])[mixed.argsort()]
    assert (found <= 0.05).nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    assert bonferroni(BENJAMINI_HOCHBERG).nonzero()[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("count", "n", "low", "high"), NEWCOMBE)
def test_wilson_interval_of_a_share(count, n, low, high):
    """Newcombe, *Two-sided Confidence Intervals for the Single Proportion* (1998), table I,
    method 3: Wilson's score interval without a correction for continuity.
    """
    found = proportion_interval(count, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("count", "n", "low", "high"), NEWCOMBE)
def test_wilson_interval_of_many_shares(count, n, low, high):
    """Newcombe (1998), table I, method 3, where the variance is known to be the binomial's."""
    share, trials = torch.tensor([[count / n], [n]], dtype=torch.float64)
    known = torch.full_like(trials, 1e12)
    found = wilson(share, share * (1 - share) / n, trials, 0.95, known)
    assert found[0].tolist() == pytest.approx([low, high], abs=5e-5)


def test_wilson_interval_of_firing_rates():
    """Newcombe (1998), table I, method 3: 81 of 263. The variance is estimated here, from 263
    images, so that the interval may be wider by what Student's t and n / (n − 1) add.
    """
    stats = ModalityStatistics(1)
    fires = (torch.arange(263) < 81).double()[:, None]
    stats.update(fires, torch.zeros(263, 1), torch.arange(263))
    _, interval = firing_rates(stats)["image"]
    low, high = interval[0].tolist()
    assert 0.2553 - 1e-3 < low < 0.2553 + 5e-5
    assert 0.3662 - 5e-5 < high < 0.3662 + 1e-3
