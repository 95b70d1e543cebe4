"""What a prompt asks for, and what a classifier reads of it."""

import numpy as np
import pytest
from PIL import Image

from mm_sae_plugin.applications.steering import asked_by, read_against
from mm_sae_plugin.factorworld import FACTORS, FactorWorld


def test_captions_ask_for_what_they_say():
    world = FactorWorld(5)
    for index in range(60):
        pair = world.pair(index)
        said = {
            name: pair.labels[f"said.{name}"]
            for name, factor in FACTORS.items()
            if factor.drawn == 1 and pair.labels[f"said.{name}"]
        }
        assert asked_by(pair.caption) == said


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        (
            "Two RED cars, left.",
            {"count": "two", "colour": "red", "object": "car", "place": "left"},
        ),
        ("red, then blue", {"colour": "red"}),
        ("something else entirely", {}),
    ],
)
def test_free_words(prompt, asked):
    assert asked_by(prompt) == asked


class _ByBrightness:
    """Reads the first value of every factor off dark pictures, and the second off bright ones."""

    def answers(self, pictures):
        bright = (pictures.mean((1, 2, 3)) > 100).astype(int)
        return np.repeat(bright[:, None], len(FACTORS), axis=1)

    def features(self, pixels):
        return pixels.flatten(1)


def test_both_pictures_are_read_against_the_prompt():
    dark, bright = (Image.new("RGB", (64, 64), (level,) * 3) for level in (10, 200))
    answers = read_against(_ByBrightness(), "one blue ball", dark, bright)
    assert [answer.factor for answer in answers[:3]] == ["count", "colour", "object"]
    first = answers[0]
    assert (first.asked, first.before, first.after) == ("one", "one", "two")
    assert all(answer.is_changed for answer in answers)
    open_ones = [answer for answer in answers if answer.asked is None]
    assert {answer.factor for answer in open_ones} >= {"place", "ground", "lighting", "frame"}
    assert all(answer.reference is None for answer in answers)
    beside = read_against(_ByBrightness(), "one blue ball", dark, dark, bright)
    assert not any(answer.is_changed for answer in beside)
    assert (beside[0].after, beside[0].reference) == ("one", "two")
