"""The second world: its rates are those of its table; its recipe trains, resumes and extracts."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from mm_sae_plugin import load_pairs
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.factorworld.embedded import load_embedded
from mm_sae_plugin.factorworld.recipes import evaluate_clip as evaluation
from mm_sae_plugin.factorworld.truth import factor_labels
from mm_sae_plugin.pairs.world import has_own_table, pairs_of_world
from tests.benchmarks.second_world import (
    SECOND_FACTORS,
    SecondWorldConfig,
    load_second_clip,
    second_world,
)

N = 4_000


@pytest.fixture(scope="module")
def scenes():
    world = FactorWorld(seed=5, factors=SECOND_FACTORS)
    return [world.scene(index) for index in range(N)]


@pytest.mark.parametrize("name", SECOND_FACTORS)
def test_each_factor_has_the_rates_and_values_of_its_table(scenes, name):
    factor = SECOND_FACTORS[name]
    applying = [scene for scene in scenes if name in scene.values]
    for rate, side in ((factor.drawn, "drawn"), (factor.said, "said")):
        share = np.mean([name in getattr(scene, side) for scene in applying])
        # Five standard errors of a proportion; exact at the rates 0 and 1.
        assert abs(share - rate) <= 5 * np.sqrt(rate * (1 - rate) / len(applying))
    counts = Counter(scene.values[name] for scene in applying)
    assert set(counts) == set(factor.values)
    if name != "gender":
        share = 1 / len(factor.values)
        bound = 5 * np.sqrt(share * (1 - share) / len(applying))
        assert all(abs(n / len(applying) - share) <= bound for n in counts.values())


def test_table_has_rates_that_the_first_has_not():
    rates = {name: (factor.drawn, factor.said) for name, factor in SECOND_FACTORS.items()}
    assert {(0.4, 0.4), (0.4, 0.15), (1, 0.6), (1, 0.8), (0.15, 0.6), (1, 0.3)} <= {*rates.values()}
    first = {(factor.drawn, factor.said) for factor in FACTORS.values()}
    assert not first & {rate for rate in rates.values() if 0 not in rate and rate != (1, 1)}
    cut = [name for name in FACTORS if SECOND_FACTORS[name].values != FACTORS[name].values]
    assert len({rates[name] for name in cut}) == 3
    assert all(len(SECOND_FACTORS[name].values) == 2 for name in cut)


def test_caption_names_exactly_what_is_said(scenes):
    for scene in scenes[:500]:
        words = scene.caption.split()
        for name, factor in SECOND_FACTORS.items():
            mentioned = {v for v in factor.values if v in words or f"{v}s" in words}
            expected = {scene.said[name]} if name in scene.said else set()
            assert mentioned == expected, (scene.caption, name)


def test_the_first_world_under_its_own_table_is_the_default():
    given, default = FactorWorld(3, factors=dict(FACTORS)), FactorWorld(3)
    source, expected = pairs_of_world(given, 5), load_pairs("factorworld:5:3")
    assert (source.spec, source.fingerprint) == (expected.spec, expected.fingerprint)
    assert expected.fingerprint == "factorworld:v1:seed3:n5"
    assert source.records[4] == expected.records[4]
    assert given.draw(4).tobytes() == default.draw(4).tobytes()


def test_pairs_of_the_second_world_pass_for_no_other():
    source = pairs_of_world(FactorWorld(3, factors=SECOND_FACTORS), 5)
    first = load_pairs("factorworld:5:3")
    assert source.fingerprint != first.fingerprint
    assert has_own_table(source.spec) and not has_own_table(first.spec)
    with pytest.raises(UserError, match="no source of pairs"):
        load_pairs(source.spec)
    opener = pickle.loads(pickle.dumps(source.opener))
    pair = FactorWorld(3, factors=SECOND_FACTORS).pair(2)
    assert opener.open_image(2).tobytes() == pair.image.tobytes()
    assert source.records[2].labels == pair.labels


def test_recipe_trains_resumes_and_extracts(tmp_path, capsys, monkeypatch):
    # Fewer captions for each value than the figures of a card are measured with.
    monkeypatch.setattr(evaluation, "_PROMPTS", 4)
    cfg = SecondWorldConfig(
        tmp_path, n_steps=2, batch_size=32, n_train_pairs=64, n_figure_pairs=256, n_pairs=12
    )
    store = second_world(cfg)
    assert len(store.captions) == 12
    assert set(store.labels) == set(factor_labels(SECOND_FACTORS))
    figures = json.loads((tmp_path / "figures.json").read_text())
    # Two steps have not undone what the embedded model knew.
    assert figures["factors"]["place"]["zero_shot"] > 0.9
    assert "zero_shot" not in figures["factors"]["frame"]
    learned = load_second_clip(tmp_path).clip.state_dict()
    start = load_embedded("factorworld").model.state_dict()
    assert not all(torch.equal(learned[name], value) for name, value in start.items())
    capsys.readouterr()
    assert second_world(cfg).manifest.key == store.manifest.key
    assert "resuming after step 2" in capsys.readouterr().out
