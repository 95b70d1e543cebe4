"""Every way of labelling, from the sums that labels hold, and how far they agree."""

import json
from dataclasses import replace

import pytest

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.config import ModalityConfig
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.label_agreement import label_agreement, label_centred
from mm_sae_plugin.stats.label_sweeps import sweep_min_activations, sweep_tau
from mm_sae_plugin.stats.labelling import label_features
from tests.stats.fakes import FakeFeatureMap, random_store

SCORES = ("carried", "mean_of_ratios", "ratio_of_means", "frequency", "energy")


@pytest.fixture(scope="module")
def store():
    # Captions that say more of the first half of the dimensions, and nearly nothing of the last.
    store = random_store(n_images=250, seed=3)
    store.texts[:, 6:] *= 0.4
    store.texts[:, 9:] += 1.0
    return store


@pytest.fixture(scope="module")
def feature_map():
    return FakeFeatureMap(12, 40, seed=1, bias=-1.5)


@pytest.fixture(scope="module")
def labels(feature_map, store) -> ModalityDominance:
    return label_features(feature_map, store, ModalityConfig(min_activations=30))


def test_each_way_is_what_labelling_anew_gives(feature_map, store, labels):
    agreement = label_agreement(labels)
    assert [(way.score, way.rule) for way in agreement.ways] == [
        (score, rule) for score in SCORES for rule in ("paper", "interval")
    ]
    for way in agreement.ways:
        cfg = replace(labels.cfg, score=way.score, rule=way.rule)
        assert list(way.classes) == label_features(feature_map, store, cfg).classes, way.name
    # The ways differ, or there would be nothing to compare.
    assert len({way.classes for way in agreement.ways}) > 5


def test_kappa_is_that_of_latents_alive_in_both(labels):
    agreement = label_agreement(labels)
    default = agreement.ways[agreement.default]
    assert (default.score, default.rule, list(default.classes)) == (
        "carried",
        "interval",
        labels.classes,
    )
    by_paper_score = [way.name for way in agreement.ways].index("mean_of_ratios, interval")
    kappa = agreement.kappa(by_paper_score, agreement.default)
    assert kappa.value == labels.kappa
    assert kappa.n == int(labels.alive.sum()) < labels.n_features
    assert len(agreement.kappas) == 10 * 9 / 2


def test_centred_ways_are_labelled_without_the_gap(feature_map, store, labels):
    moved = label_centred(feature_map, store, labels)
    agreement = label_agreement(labels, moved)
    assert len(agreement.ways) == 20
    centred = [way for way in agreement.ways if way.is_centred]
    means = labels.statistics.mean_acts
    assert means is not None
    again = replace_means(store, means)
    for way in centred:
        cfg = replace(labels.cfg, score=way.score, rule=way.rule)
        if way.score != "carried":
            assert list(way.classes) == label_features(feature_map, again, cfg).classes, way.name
    raw = [way for way in agreement.ways if not way.is_centred]
    assert [way.classes for way in raw] != [way.classes for way in centred]
    table = agreement.table()
    assert table.shape == (20, 20) and (table.to_numpy().diagonal() == 1).all()
    assert table.equals(table.T)
    record = json.loads(json.dumps(agreement.record(), allow_nan=False))
    assert record["default"] == "carried, interval"
    assert [way["name"] for way in record["ways"]] == list(table.index)
    assert record["ways"][1]["kappa_with_default"] is None
    assert len(record["kappas"]) == 190


def replace_means(store, means):
    """The same pairs, with both modalities moved to their midpoint by hand."""
    shift = (means - means.mean(0)).float()
    return replace(store, images=store.images - shift[0], texts=store.texts - shift[1])


def test_labels_without_means_cannot_be_centred(feature_map, store, labels):
    statistics = type(labels.statistics).from_state_dict(labels.statistics.state_dict())
    statistics.acts_sums = None
    with pytest.raises(UserError, match="do not hold the means of the activations"):
        label_centred(feature_map, store, replace(labels, statistics=statistics))


def test_tau_widens_the_middle(labels):
    results = sweep_tau(labels, (0.0, 1.0, 50.0))
    assert [(r.score, r.value) for r in results] == [
        (score, tau) for score in ("carried", "mean_of_ratios") for tau in (0.0, 1.0, 50.0)
    ]
    for narrow, default, wide in (results[:3], results[3:]):
        assert narrow.class_counts["CrossD"] < default.class_counts["CrossD"]
        assert wide.class_counts["ImgD"] == wide.class_counts["TextD"] == 0
        assert default.kappa.value == 1 and default.kappa.n == int(labels.alive.sum())
        assert narrow.kappa.value is not None and narrow.kappa.value < 1
        assert sum(wide.class_counts.values()) == labels.n_features
    cfg = replace(labels.cfg, score="mean_of_ratios", rule="paper", tau=0.0)
    expected = ModalityDominance.from_config(labels.statistics, cfg, labels.carried)
    assert results[3].class_counts == expected.class_counts
    with pytest.raises(UserError, match="tau must not be negative"):
        sweep_tau(labels, (-1.0,))


def test_fewer_firings_that_are_asked_for_leave_fewer_dead(labels):
    results = sweep_min_activations(labels, (1, 30, 120))
    for few, default, many in (results[:3], results[3:]):
        n_dead = [r.class_counts["Dead"] for r in (few, default, many)]
        assert n_dead[0] < n_dead[1] < n_dead[2]
        assert n_dead[1] == labels.class_counts["Dead"]
        assert default.kappa.value == 1 and default.kappa.n == labels.n_features
        assert few.kappa.value is not None and few.kappa.value < 1
    n_active = labels.n_active
    assert results[2].class_counts["Dead"] == int((n_active < 120).sum())
    json.dumps([r.record() for r in results], allow_nan=False)
    assert results[0].record()["min_activations"] == 1
