"""What only goes with a latent is not taken for the latent."""

import pytest
import torch

from mm_sae_plugin.stats.carried.score import carried_dominance
from tests.stats.carried.associated import associated_world, people
from tests.stats.carried.worlds import world


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9])
def test_a_copy_that_is_only_drawn_is_not_shared(strength, seed):
    pairs = associated_world(strength, seed=seed)
    found = carried_dominance(pairs.latents("image"), pairs.store)
    assert found.scores[0] == 1 and found.intervals[0, 1] == 1 and found.intervals[0, 0] > 0.5
    # Without an association the captions are simply silent.
    assert found.associated.tolist() == [strength > 0] + [False] * 5
    assert found.associated_with[0] == (1 if strength else -1)
    assert found.partner[0] == -1
    # The shared factors, the copied one among them, stay what they are.
    assert found.scores[1:] == pytest.approx(torch.full((5,), 0.5).double(), abs=0.02)
    assert found.direct[1:] == pytest.approx(torch.ones(5).double(), abs=0.02)


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9])
def test_gender_that_is_never_said_is_not_carried_by_occupation(strength):
    pairs = people(strength)
    found = carried_dominance(pairs.latents("image"), pairs.store)
    # Occupations explain strength² of gender: as much as the captions seem to know of it.
    assert found.carry[0] == pytest.approx(strength**2, abs=0.04)
    assert found.scores[0] == 1
    assert found.associated.tolist() == [strength > 0] + [False] * 8
    assert found.scores[1:] == pytest.approx(torch.full((8,), 0.5).double(), abs=0.02)


@pytest.mark.parametrize("n_values", [2, 3, 6])
def test_rare_and_graded_factors_are_not_taken_for_associations(n_values):
    rates = [(1.0, 1.0), (1.0, 0.15), (0.15, 1.0), (0.4, 0.4), (0.4, 0.15), (0.15, 0.4)]
    pairs = world(rates, n_values=n_values, noise=0.05)
    for side in ("image", "text"):
        found = carried_dominance(pairs.latents(side), pairs.store)
        assert not found.associated.any()


def test_nothing_is_said_of_unrelated_pairs():
    pairs = world([(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)], n_pairs=4000)
    found = carried_dominance(pairs.latents("image"), pairs.store)
    assert not found.associated.any() and (found.associated_with == -1).all()
