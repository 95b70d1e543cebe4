"""Classes under both rules, and the files beside an SAE."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.folder_files import written
from mm_sae_plugin.stats import ModalityConfig, ModalityDominance, ModalityStatistics
from mm_sae_plugin.stats.carried.score import carried_dominance
from mm_sae_plugin.stats.compute import compute_modality
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.scores import SCORES
from tests.stats.carried.test_partners import Halves
from tests.stats.carried.worlds import world

N_LATENTS = 6


@pytest.fixture
def stats() -> ModalityStatistics:
    """Latents: all image, all text, balanced, rare, silent, leaning to images."""
    generator = torch.Generator().manual_seed(0)
    n = 400
    fires = torch.rand(2, n, N_LATENTS, generator=generator)
    p_image = torch.tensor([0.5, 0.02, 0.4, 0.012, 0.0, 0.42])
    p_text = torch.tensor([0.02, 0.5, 0.4, 0.0, 0.0, 0.23])
    stats = ModalityStatistics(N_LATENTS)
    stats.update((fires[0] < p_image).float(), (fires[1] < p_text).float(), torch.arange(n))
    return stats


def test_interval_rule_asks_for_the_whole_interval(stats):
    dominance = ModalityDominance.from_statistics(stats, score="frequency", rule="interval")
    assert dominance.classes == ["ImgD", "TextD", "CrossD", "Dead", "Dead", "Undetermined"]
    low, high = dominance.intervals[5].tolist()
    assert low < 0.65 < high
    assert dominance.class_counts == dict(zip(CLASSES, (1, 1, 1, 1, 2), strict=True))


def test_paper_rule_cuts_at_mean_plus_minus_tau_std_of_the_alive(stats):
    dominance = ModalityDominance.from_statistics(stats, rule="paper", tau=1.0)
    alive = dominance.scores[[0, 1, 2, 5]]
    assert dominance.low == pytest.approx(float(alive.mean() - alive.std(correction=0)))
    assert dominance.high == pytest.approx(float(alive.mean() + alive.std(correction=0)))
    assert dominance.classes == ["ImgD", "TextD", "CrossD", "Dead", "Dead", "CrossD"]
    assert dominance.class_counts["Undetermined"] == 0
    wide = ModalityDominance.from_statistics(stats, rule="paper", tau=3.0)
    assert wide.class_counts["CrossD"] == 4


def test_dead_is_about_images_and_can_be_set(stats):
    assert ModalityDominance.from_statistics(stats).n_active[3] < 10
    dominance = ModalityDominance.from_statistics(stats, rule="paper", min_activations=1)
    assert dominance.classes[3] == "ImgD"
    assert dominance.classes[4] == "Dead", "a latent that never fires is not text-dominant"
    assert torch.isnan(dominance.scores[4])


def test_statistics_of_only_dead_latents_are_labelled_too():
    stats = ModalityStatistics(2)
    stats.update(torch.zeros(5, 2), torch.zeros(5, 2), torch.arange(5))
    for rule in ("paper", "interval"):
        assert ModalityDominance.from_statistics(stats, rule=rule).classes == ["Dead", "Dead"]


def test_strongest_prefers_certainty(stats):
    dominance = ModalityDominance.from_statistics(stats, rule="paper", min_activations=1, tau=0.5)
    # Latent 3 has the higher score, 1.0, but on a handful of images.
    assert dominance.scores[3] > dominance.scores[0]
    assert dominance.strongest("ImgD", 2) == [0, 3]
    assert dominance.strongest("ImgD", 1) == [0]
    assert dominance.strongest("Undetermined", 3) == []


def test_coverage_is_the_share_of_pairs(stats):
    dominance = ModalityDominance.from_statistics(stats)
    either = stats.channel("fires_image") + stats.channel("fires_text")
    either -= stats.channel("fires_both")
    assert torch.equal(dominance.coverage, either / 400)


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize(
    "wrong",
    [
        {"score": "median"},
        {"rule": "vote"},
        {"confidence": 95},
        {"cutoffs": (0.7, 0.3)},
        {"tau": -1},
    ],
)
def test_settings_without_meaning_are_refused(stats, wrong):
    with pytest.raises(UserError):
        ModalityDominance.from_statistics(stats, **wrong)


@pytest.fixture
def sae_dir(tmp_path):
    from sae_lens import TopKSAE, TopKSAEConfig

    sae = TopKSAE(TopKSAEConfig(d_in=5, d_sae=N_LATENTS, k=2))
    sae.cfg.metadata.model_name = "some-clip"
    sae.save_model(tmp_path / "sae")
    return tmp_path / "sae"


def test_saved_dominance_comes_back(stats, sae_dir):
    dominance = ModalityDominance.from_statistics(
        stats, score="energy", rule="interval", cutoffs=(0.3, 0.6), confidence=0.9
    )
    dominance = dominance.with_gap(torch.linspace(-1, 1, N_LATENTS, dtype=torch.float64))
    dominance = dominance.with_centred(ModalityDominance.from_statistics(stats))
    dominance = dominance.from_store("0123abcd")
    dominance.save(sae_dir)
    loaded = ModalityDominance.load(sae_dir)
    assert loaded.cfg == dominance.cfg
    assert loaded.classes == dominance.classes
    assert loaded.centred_classes == dominance.centred_classes
    assert torch.equal(loaded.intervals, dominance.intervals)
    assert loaded.gap_cosine is not None and dominance.gap_cosine is not None
    assert torch.equal(loaded.gap_cosine, dominance.gap_cosine)
    assert loaded.statistics.n_images == stats.n_images
    assert loaded.store_key == "0123abcd"
    # Saving again replaces, and leaves nothing temporary behind.
    ModalityDominance.from_statistics(stats, rule="paper").save(sae_dir)
    assert ModalityDominance.load(sae_dir).cfg.rule == "paper"
    assert not list(sae_dir.glob("*.partial"))


def test_sae_folder_stays_loadable_without_the_plugin(stats, sae_dir):
    ModalityDominance.from_statistics(stats, rule="interval").save(sae_dir)
    code = (
        "import sys, sae_lens\n"
        f"sae = sae_lens.SAE.load_from_disk({str(sae_dir)!r})\n"
        "assert 'mm_sae_plugin' not in sys.modules\n"
        "m = sae.cfg.metadata.modality\n"
        "print(sae.cfg.metadata.model_name, m['rule'], m['classes'], m['legend'])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("some-clip interval I")
    record = json.loads((sae_dir / "cfg.json").read_text())["metadata"]["modality"]
    assert [record["legend"][c] for c in record["classes"]][3:5] == ["Dead", "Dead"]
    # One letter a latent and no number: SAELens prints the whole configuration.
    assert "scores" not in record


def test_labels_of_the_first_version_still_open(stats, sae_dir):
    dominance = ModalityDominance.from_statistics(stats, score="frequency")
    dominance.save(sae_dir)
    cfg = json.loads((sae_dir / "cfg.json").read_text())
    record = cfg["metadata"]["modality"]
    # It kept the scores in the record, and did not name the store.
    del record["store_key"]
    record["scores"] = [None if s != s else round(s, 4) for s in dominance.scores.tolist()]
    (sae_dir / "cfg.json").write_text(json.dumps(cfg))
    # Nor did it know checksums.
    (sae_dir / "checksums.json").unlink()
    loaded = ModalityDominance.load(sae_dir)
    assert (loaded.cfg, loaded.classes) == (dominance.cfg, dominance.classes)
    assert loaded.store_key is None


def test_table_has_a_row_for_every_latent(stats, sae_dir):
    dominance = ModalityDominance.from_statistics(stats)
    dominance.save(sae_dir)
    table = pd.read_parquet(sae_dir / "modality.parquet")
    assert list(table["latent"]) == list(range(N_LATENTS))
    assert list(table["class"]) == dominance.classes
    for score in SCORES:
        value, low, high = (
            table[name].to_numpy() for name in (score, f"{score}_low", f"{score}_high")
        )
        known = value == value
        assert np.all(low[known] <= value[known]) and np.all(value[known] <= high[known])
    p_values = table["swap_p"].tolist()
    assert p_values[0] < 1e-6 and p_values[2] > 0.01
    assert table["coactivation_lift"].tolist()[2] == pytest.approx(1, abs=0.2)


def test_wrong_folders_are_refused_and_left_alone(stats, sae_dir, tmp_path):
    with pytest.raises(UserError, match=r"no cfg\.json"):
        ModalityDominance.from_statistics(stats).save(tmp_path)
    with pytest.raises(UserError, match="mm-sae mds"):
        ModalityDominance.load(sae_dir)
    other = ModalityStatistics(3)
    other.update(torch.ones(20, 3), torch.ones(20, 3), torch.arange(20))
    before = (sae_dir / "cfg.json").read_text()
    with pytest.raises(UserError, match="another SAE"):
        ModalityDominance.from_statistics(other).save(sae_dir)
    assert (sae_dir / "cfg.json").read_text() == before


@pytest.mark.parametrize("name", ["modality.safetensors", "modality.parquet", "cfg.json"])
def test_a_flipped_bit_in_the_labels_is_named_and_mended_by_labelling_again(stats, sae_dir, name):
    dominance = ModalityDominance.from_statistics(stats)
    dominance.save(sae_dir)
    path = sae_dir / name
    spoilt = bytearray(path.read_bytes())
    # In the config a digit of the labels' record, so that it stays JSON.
    at = spoilt.index(b'"n_pairs": 400') + 11 if name == "cfg.json" else len(spoilt) - 9
    spoilt[at] ^= 1
    path.write_bytes(spoilt)
    message = rf"{name}.* is not as it was written .*: run `mm-sae mds` on this SAE again"
    with pytest.raises(UserError, match=message):
        ModalityDominance.load(sae_dir)
    dominance.save(sae_dir)
    assert ModalityDominance.load(sae_dir).classes == dominance.classes
    path.unlink()
    with pytest.raises(UserError, match="mm-sae mds"):
        ModalityDominance.load(sae_dir)


def test_labels_without_checksums_open_and_are_not_taken_for_whole(stats, sae_dir):
    dominance = ModalityDominance.from_statistics(stats)
    # As the version before wrote them: the SAE has checksums, its labels have none.
    with written(sae_dir, "cfg.json", "sae_weights.safetensors"):
        pass
    sums = (sae_dir / "checksums.json").read_text()
    dominance.save(sae_dir)
    (sae_dir / "checksums.json").write_text(sums)
    assert ModalityDominance.load(sae_dir).classes == dominance.classes
    (sae_dir / "modality.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"statistics in .* are damaged; run `mm-sae mds`"):
        ModalityDominance.load(sae_dir)


@pytest.mark.parametrize("labelled", [False, True])
def test_a_folder_that_cannot_be_written_is_one_line(stats, sae_dir, monkeypatch, labelled):
    dominance = ModalityDominance.from_statistics(stats)
    if labelled:
        dominance.save(sae_dir)
    before = {path: path.read_bytes() for path in sae_dir.iterdir()}

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    # As a read-only file system does; permissions do not stop root.
    for name in ("write_text", "write_bytes", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        dominance.save(sae_dir)
    monkeypatch.undo()
    assert before == {path: path.read_bytes() for path in sae_dir.iterdir()}


def test_dead_latents_belong_to_no_concept():
    pairs = world([(1.0, 1.0), (1.0, 0.4)], n_pairs=6000, noise=0.05)
    halves = Halves(pairs.directions)
    carried = carried_dominance(halves, pairs.store)
    stats = compute_modality(halves, pairs.store)
    labels = ModalityDominance.from_config(stats, ModalityConfig(), carried)
    assert {c.latents for c in labels.concepts.values()} == {(0, 2), (1, 3)}
    assert labels.concept_of(3) == labels.concepts[1]
    # The second concept is said on one pair in fifteen, so that its half for captions is dead here.
    strict = ModalityDominance.from_config(stats, ModalityConfig(min_activations=600), carried)
    assert strict.classes[3] == "Dead"
    assert {c.latents for c in strict.concepts.values()} == {(0, 2)}
    assert strict.concept_of(1) is None and strict.concept_of(3) is None
    assert strict.table()["concept"].tolist() == [0, 1, 0, 3]
