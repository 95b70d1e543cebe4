"""The split rate, on features that are planted."""

import numpy as np
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.truth import drawn_label, said_label
from mm_sae_plugin.stats.passes import Reading, run_pass
from mm_sae_plugin.stats.splitting import SplitCheck, SplitValue, check_splits, value_correlations
from mm_sae_plugin.stats.truth import TruthSums
from tests.stats.fakes import FakeStore, IdentityMap

FACTORS = {"colour": (1.0, 1.0), "light": (1.0, 0.4), "tilt": (1.0, 0.0)}
N = 600


def labelled(images: torch.Tensor, texts: torch.Tensor) -> TruthSums:
    """Sums of codes that are given as they are, with colour red or blue and light on or absent."""
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "blue"], N).tolist()
    lit = np.where(rng.random(N) < 0.5, "on", "off")
    said = np.where(rng.random(N) < 0.4, lit, "")
    labels = {
        **{label("colour"): colour for label in (drawn_label, said_label)},
        drawn_label("light"): lit.tolist(),
        said_label("light"): said.tolist(),
        **{label("tilt"): ["level"] * N for label in (drawn_label, said_label)},
    }
    red = torch.tensor([c == "red" for c in colour]).float()[:, None]
    on = torch.tensor(lit == "on").float()[:, None], torch.tensor(said == "on").float()[:, None]
    data = {"red": (red, red), "blue": (1 - red, 1 - red), "on": on}
    noise = torch.rand(N, 1, generator=torch.Generator().manual_seed(0))
    sides = []
    for side, wanted in enumerate((images, texts)):
        columns = torch.cat([*(pair[side] for pair in data.values()), noise], 1)
        sides.append(columns @ wanted)
    store = FakeStore(sides[0], sides[1], torch.arange(N), labels)
    sums = TruthSums.of(store, FACTORS, images.shape[1])
    (taken,) = run_pass(store, [Reading(IdentityMap(images.shape[1]), {"": sums})], part_size=100)
    filled = taken[""]
    assert isinstance(filled, TruthSums)
    return filled


# Rows: red, blue, light on, noise. Columns: features.
RED_BOTH_BLUE_SPLIT = (
    torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0.1, 0, 0, 1]]),
    torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]),
)


def test_one_feature_for_both_is_whole_and_one_for_each_is_split():
    check = check_splits(labelled(*RED_BOTH_BLUE_SPLIT), torch.ones(4, dtype=torch.bool), FACTORS)
    by_value = {(v.factor, v.value): v for v in check.values}
    # Tilt is never said, so it cannot be split.
    assert set(by_value) == {
        *(("colour", "red"), ("colour", "blue"), ("light", "on"), ("light", "off"))
    }
    red, blue = by_value["colour", "red"], by_value["colour", "blue"]
    assert (red.image, red.text, red.both, red.is_split) == (0, 0, 0, False)
    assert (blue.image, blue.text, blue.both, blue.is_split) == (1, 2, None, True)
    assert not by_value["light", "on"].is_followed
    assert (check.n_values, check.n_followed, check.n_split, check.rate) == (4, 2, 1, 0.5)
    assert check.record()["n_image_only"] == check.record()["n_text_only"] == 0
    assert check.n_best_differ == 1


def test_dead_features_do_not_count():
    alive = torch.tensor([True, True, False, True])
    check = check_splits(labelled(*RED_BOTH_BLUE_SPLIT), alive, FACTORS)
    assert (check.n_followed, check.n_split, check.rate) == (1, 0, 0.0)
    assert check.record()["n_image_only"] == 1


def test_nothing_followed_is_no_rate():
    nothing = torch.zeros(4, 2)
    nothing[3] = 1
    check = check_splits(labelled(nothing, nothing), torch.ones(2, dtype=torch.bool), FACTORS)
    assert check.rate is None and check.interval() == (0.0, 1.0) and check.n_followed == 0


def test_correlations_are_those_of_numpy():
    sums = labelled(*RED_BOTH_BLUE_SPLIT)
    values, r = value_correlations(sums.image, "light")
    numbers = sums.image.table.numbers[:, 1] - sums.image.table.stretch("light").start
    # The image codes again: feature 0 is red with a little noise.
    red = (sums.image.table.numbers[:, 0] == 1).float()
    noise = torch.rand(N, 1, generator=torch.Generator().manual_seed(0))[:, 0]
    for row in range(len(values)):
        expected = np.corrcoef((red + 0.1 * noise).numpy(), (numbers == row).numpy())[0, 1]
        assert float(r[row, 0]) == pytest.approx(expected, abs=1e-6)
    assert bool((r[:, 2] == 0).all()), "a code that never varies follows nothing"


@pytest.mark.parametrize(
    ("n_split", "n", "low", "high"), [(0, 20, 0.0, 0.1611), (81, 263, 0.2553, 0.3662)]
)
def test_the_interval_is_wilsons(n_split, n, low, high):
    """Newcombe 1998, table I."""
    values = [SplitValue("f", str(i), 0, 1, None if i < n_split else 0) for i in range(n)]
    found = SplitCheck(values, 0.25).interval()
    assert found == pytest.approx((low, high), abs=5e-5)


def test_a_threshold_without_meaning_is_refused():
    sums = labelled(*RED_BOTH_BLUE_SPLIT)
    with pytest.raises(UserError, match="min_r2 must lie above 0"):
        check_splits(sums, torch.ones(4, dtype=torch.bool), FACTORS, min_r2=0.0)
