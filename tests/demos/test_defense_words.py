"""What is said of one attacked picture, in every case that there is."""

import pytest
import torch

from mm_sae_plugin.applications.defense.one_picture import Outcome, Said
from mm_sae_plugin.demos.defense.words import verdict

NAMES = ["car", "cup <b>", "tree"]


def says(name: str) -> torch.Tensor:
    return torch.tensor([0.8 if one == name else 0.1 for one in NAMES])


def outcome(bare: str, clean: str, static: str, adaptive: str) -> Outcome:
    pixels = torch.zeros(1, 3, 2, 2)
    said = {
        "none": Said(says("car"), says(bare), says(bare)),
        "FARE": Said(says(clean), says(static), says(adaptive)),
    }
    return Outcome(0, pixels, pixels, {"none": pixels, "FARE": pixels}, said)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("cup <b>", "car", "car", "tree"), "reads as “tree”. The static figure flattered it"),
        (("cup <b>", "car", "car", "car"), "<b>FARE</b> holds here."),
        (("tree", "car", "tree", "tree"), "it does not defend. Even the picture"),
        (("tree", "car", "tree", "car"), "found less than the picture made without it"),
        (("tree", "tree", "tree", "tree"), "as “tree” before any attack: there is nothing"),
        (("car", "car", "car", "car"), "fools nobody, not even the encoder without a defense"),
        (("car", "car", "car", "tree"), "reads as “tree”. The static figure flattered it"),
    ],
)
def test_a_defense_is_judged(given, told):
    assert told in verdict(outcome(*given), NAMES, "FARE")


def test_names_are_no_markup():
    assert "“cup &lt;b&gt;”" in verdict(outcome("tree", "cup <b>", "car", "car"), NAMES, "FARE")


@pytest.mark.parametrize(("bare", "told"), [("car", "holds off"), ("tree", "is read as “tree”")])
def test_without_a_defense_there_is_only_the_attack(bare, told):
    said = verdict(outcome(bare, "car", "car", "car"), NAMES, "none")
    assert told in said and "static evaluation" not in said
