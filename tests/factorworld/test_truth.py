"""The truth rule and the names of the labels: stated once, and followed by the world."""

import csv

import pytest

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.factorworld.export import WorldConfig, export_world
from mm_sae_plugin.factorworld.truth import (
    Rates,
    drawn_label,
    factor_labels,
    is_factor_label,
    said_label,
)


@pytest.mark.parametrize(
    ("rates", "dominance", "modality", "is_graded"),
    [
        ((1, 1), 0.5, "CrossD", False),
        ((1, 0.25), 0.8, "ImgD", True),
        ((0.25, 1), 0.2, "TextD", True),
        ((1, 0), 1.0, "ImgD", False),
        ((0, 1), 0.0, "TextD", False),
        ((0.5, 0.5), 0.5, "CrossD", False),
    ],
)
def test_truth_of_two_rates(rates, dominance, modality, is_graded):
    truth = Rates.of(rates)
    assert (truth.dominance, truth.modality, truth.is_graded) == (dominance, modality, is_graded)


def test_a_factor_is_what_its_rates_are():
    for factor in FACTORS.values():
        rates = Rates.of(factor)
        assert rates == Rates(factor.drawn, factor.said)
        assert factor.dominance == rates.dominance
        assert factor.modality == rates.modality
        assert factor.is_graded == rates.is_graded


@pytest.mark.parametrize("rates", [(0, 0), (1.5, 1), (1, -0.1), (float("nan"), 1)])
def test_rates_that_are_no_probabilities_are_refused(rates):
    with pytest.raises(UserError, match="two probabilities, at least one of them above 0"):
        Rates.of(rates)


def test_labels_are_called_the_same_in_scenes_and_tables(tmp_path):
    assert (drawn_label("size"), said_label("size")) == ("drawn.size", "said.size")
    assert factor_labels(["a", "b"]) == ["drawn.a", "drawn.b", "said.a", "said.b"]
    assert list(FactorWorld(0).scene(0).labels) == factor_labels(FACTORS)
    table = export_world(WorldConfig(tmp_path, pairs=1), progress=False)
    with open(table, encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert columns == ["image", "caption", "image_id", *factor_labels(FACTORS)]
    assert [name for name in columns if is_factor_label(name)] == factor_labels(FACTORS)
