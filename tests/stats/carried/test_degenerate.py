"""Stores from which little or nothing can be read end in no score, not in a crash."""

import dataclasses

import numpy as np
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.carried.score import carried_dominance
from tests.stats.carried.worlds import world

RATES = [(1.0, 1.0), (1.0, 0.4)]


@pytest.mark.parametrize("n_pairs", [1, 2, 3, 4, 5, 8, 20])
@pytest.mark.parametrize("own", ["image", "text"])
def test_few_pairs_say_nothing(n_pairs, own):
    pairs = world(RATES, n_pairs=n_pairs)
    found = carried_dominance(pairs.latents(own), pairs.store)
    assert not found.decidable.any() and found.scores.isnan().all()
    assert found.intervals.tolist() == [[0, 1]] * len(RATES)
    assert np.isnan(np.asarray(found.columns()["carry"])).all()


@pytest.mark.parametrize("value", [0.0, 0.37, 100.0])
@pytest.mark.parametrize("still", ["image", "text"])
@pytest.mark.parametrize("own", ["image", "text"])
def test_a_side_that_does_not_vary_is_silent(own, still, value):
    pairs = world(RATES, n_pairs=4000)
    rows = torch.full_like(getattr(pairs.store, f"{still}s"), value)
    store = dataclasses.replace(pairs.store, **{f"{still}s": rows})
    found = carried_dominance(pairs.latents(own), store)
    assert not found.heard.any() and not found.associated.any()
    # Where the own side varies, it is read, and the latent is its own.
    own_varies = own != still
    assert bool(found.decidable.all()) == own_varies
    if own_varies:
        assert found.scores.tolist() == [float(own == "image")] * len(RATES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_not_finite_is_told(value):
    pairs = world(RATES, n_pairs=200)
    rows = pairs.store.texts.clone()
    rows[5] = value
    store = dataclasses.replace(pairs.store, texts=rows)
    with pytest.raises(UserError, match="NaN, infinite or too large"):
        carried_dominance(pairs.latents("text"), store)
