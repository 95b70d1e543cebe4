"""The truth check, on worlds whose truth is known without any model."""

import numpy as np
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats import ModalityDominance, compute_modality, truth_check
from tests.stats.fakes import FakeStore, IdentityMap

RATES = {
    "colour": (1.0, 1.0),
    "place": (1.0, 1.0),
    "ground": (1.0, 0.4),
    "weather": (1.0, 0.15),
    "tag": (0.4, 1.0),
    "tone": (0.15, 1.0),
    "tilt": (1.0, 0.0),
    "ending": (0.0, 1.0),
}
N_VALUES = 4


def world(n: int = 6000, strength_text: float = 1.0, seed: int = 0) -> FakeStore:
    """One latent per value of each factor, firing exactly where the value is drawn or said."""
    rng = np.random.default_rng(seed)
    labels: dict[str, list[str]] = {}
    sides: dict[str, list[np.ndarray]] = {"drawn": [], "said": []}
    for name, rates in RATES.items():
        values = rng.integers(0, N_VALUES, n)
        for (kind, codes), rate in zip(sides.items(), rates, strict=True):
            shown = rng.random(n) < rate
            labels[f"{kind}.{name}"] = [
                f"v{v}" if seen else "" for v, seen in zip(values, shown, strict=True)
            ]
            one_hot = (values[:, None] == np.arange(N_VALUES)) & shown[:, None]
            codes.append(one_hot * rng.uniform(0.8, 1.2, (n, 1)))
    # Two more latents: noise that follows nothing, and a conjunction of colour and place.
    noise = (rng.random((n, 1)) < 0.2) * 1.0
    both = sides["drawn"][0][:, :1] * sides["drawn"][1][:, :1]
    images = np.hstack([*sides["drawn"], noise, both])
    texts = np.hstack([*sides["said"], noise, both]) * strength_text
    return FakeStore(
        torch.from_numpy(images).float(), torch.from_numpy(texts).float(), torch.arange(n), labels
    )


def check(store: FakeStore, **options):
    feature_map = IdentityMap(store.images.shape[1])
    stats = compute_modality(feature_map, store)
    dominance = ModalityDominance.from_statistics(stats, score=options.pop("score", "frequency"))
    return truth_check(feature_map, store, dominance, RATES, **options)


@pytest.fixture(scope="module")
def checked():
    return check(world())


def test_every_latent_is_given_its_factor_and_value(checked):
    by_latent = checked.by_latent()
    for i, name in enumerate(RATES):
        for value in range(N_VALUES):
            entry = by_latent[i * N_VALUES + value]
            assert (entry.factor, entry.value) == (name, f"v{value}")
            # The strength varies by a tenth, so a detector explains nearly all, not all.
            assert entry.eta2 > 0.9
    assert by_latent[8].side == "image" and by_latent[16].side == "text"
    assert by_latent[28].side == "text" and by_latent[28].dominance == 0


def test_noise_and_conjunctions_follow_nothing(checked):
    n = len(RATES) * N_VALUES
    assert len(checked.latents) == n + 2
    assert set(checked.by_latent()) == set(range(n))


def test_order_is_perfect_and_sides_are_counted(checked):
    for name, contrast in checked.contrasts.items():
        assert contrast.value == 1, name
    assert checked.contrasts["ImgD_vs_TextD"].n_positive == 3 * N_VALUES
    assert checked.contrasts["ImgD_vs_shared"].n_negative == 2 * N_VALUES


def test_ratio_of_means_and_frequency_are_calibrated(checked):
    for score in ("ratio_of_means", "frequency"):
        calibration = checked.calibrations[score]
        assert calibration.n_graded == 4
        assert calibration.share_within == 1
        assert calibration.spearman == pytest.approx(1)
        for row in calibration.rows:
            assert row.median == pytest.approx(row.truth, abs=0.03), row.factor
    assert checked.calibration is checked.calibrations["ratio_of_means"]


def test_mean_of_ratios_cannot_be_calibrated_where_both_sides_fire(checked):
    rows = {row.factor: row for row in checked.calibrations["mean_of_ratios"].rows}
    # Where the value is drawn: 60% image only, 40% both at equal strength.
    assert rows["ground"].median == pytest.approx(0.8, abs=0.03)
    assert not rows["ground"].within
    # The exact value 1 − 0.15 / 2 lies off the truth 0.87 too, if by less than the tolerance.
    assert rows["weather"].median == pytest.approx(0.925, abs=0.02)


def test_a_weak_side_spoils_the_calibration_of_means_but_not_of_frequency():
    result = check(world(strength_text=0.25))
    assert result.calibrations["frequency"].share_within == 1
    assert result.calibrations["ratio_of_means"].share_within == 0


def test_a_factor_that_no_latent_follows_counts_as_missed():
    store = world()
    tone = list(RATES).index("tone") * N_VALUES
    store.images[:, tone : tone + N_VALUES] = 0
    store.texts[:, tone : tone + N_VALUES] = 0
    calibration = check(store).calibration
    row = next(row for row in calibration.rows if row.factor == "tone")
    assert row.n_latents == 0 and row.median is None and not row.within
    assert calibration.share_within == 0.75
    assert (calibration.n_graded, calibration.n_followed) == (4, 3)


def test_random_codes_follow_nothing():
    store = world(n=2000)
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(2000, generator=generator)
    store.images = store.images[shuffled]
    store.texts = store.texts[shuffled.flip(0)]
    result = check(store)
    assert result.by_latent() == {}
    assert result.contrasts["ImgD_vs_TextD"].value is None
    assert result.calibration.share_within == 0 and result.calibration.spearman is None


def test_labels_must_be_there():
    store = world(n=100)
    del store.labels["said.tag"]
    with pytest.raises(UserError, match=r"said\.tag"):
        check(store)


def test_plain_json(checked):
    import json

    content = json.loads(json.dumps(checked.to_dict()))
    assert content["contrasts"][content["score"]]["ImgD_vs_TextD"]["value"] == 1
    assert content["calibration"]["frequency"]["share_within"] == 1
