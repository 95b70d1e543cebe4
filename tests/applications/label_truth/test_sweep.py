"""A sweep on a few pairs and steps: its rows, and what it keeps."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from mm_sae_plugin.applications.label_truth import SweepConfig, run_sweep
from mm_sae_plugin.cli import main
from mm_sae_plugin.stats.scores import SCORES


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory) -> SweepConfig:
    return SweepConfig(
        out=tmp_path_factory.mktemp("sweep"),
        sizes=(64,),
        seeds=(0, 1),
        pairs=500,
        training_steps=150,
        n_workers=1,
    )


@pytest.fixture(scope="module")
def rows(cfg):
    """Of a sweep that was interrupted after its first dictionary, and went on."""

    def interrupt(line: str) -> None:
        if "(1 of 2)" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"1 of 2 dictionaries.*same command again"):
        run_sweep(cfg, interrupt)
    assert not (cfg.out / "truth.json").exists()
    (first,) = cells(cfg)
    before = first.stat().st_mtime_ns
    told = []
    sweep = run_sweep(cfg, told.append)
    assert first.stat().st_mtime_ns == before
    assert any("1 of 2 dictionaries are finished already" in line for line in told)
    assert json.loads(sweep.path.read_text())["rows"] == sweep.rows
    return sweep.rows


def cells(cfg: SweepConfig) -> list[Path]:
    return sorted((cfg.out / "cells").iterdir())


def test_one_row_for_each_dictionary_and_score(rows):
    assert [(row["seed"], row["score"]) for row in rows] == [
        (seed, score) for seed in (0, 1) for score in (*SCORES, "carried")
    ]
    assert {(row["model"], row["architecture"], row["d_sae"], row["k"]) for row in rows} == {
        ("factorworld", "topk", 64, 12)
    }


def test_a_row_says_how_its_score_keeps_to_the_truth(rows):
    contrasts = {"ImgD_vs_TextD", "ImgD_vs_shared", "TextD_vs_shared"}
    for row in rows:
        for figures, min_eta2 in ((row, 0.5), (row["conjunctions"], 0.2)):
            assert figures["auroc"].keys() == figures["auroc_interval"].keys() == contrasts
            assert figures["n"].keys() == {"ImgD", "CrossD", "TextD"}
            assert figures["min_eta2"] == min_eta2
            n_scored = sum(figures["n"].values())
            assert (figures["within"] is None) == (figures["coverage"] is None) == (n_scored == 0)
            followers = figures["calibration"]["factors"].values()
            assert sum(factor["n_latents"] for factor in followers) == n_scored
            assert figures["n_undecidable"] >= 0
        assert sum(row["n"].values()) <= sum(row["conjunctions"]["n"].values())
    # A few steps on a few pairs are enough for some latents to follow factors.
    assert any(sum(row["conjunctions"]["n"].values()) >= 10 for row in rows)
    # Where the four scores are known, only the carried one may say nothing.
    assert all(row["n_undecidable"] == 0 for row in rows if row["score"] != "carried")


def test_the_figures_of_a_row_can_be_had_from_the_latents(cfg, rows):
    record = json.loads(cells(cfg)[0].read_text())
    latents = record["latents"]
    (row,) = (row for row in record["rows"] if row["score"] == "frequency")
    follow = [i for i, eta2 in enumerate(latents["eta2"]) if eta2 >= 0.2]
    truth, score = latents["dominance"], latents["frequency"]
    assert len(follow) == sum(row["conjunctions"]["n"].values())
    near = sum(abs(truth[i] - score[i]) <= 0.07 for i in follow) / len(follow)
    assert row["conjunctions"]["within"] == pytest.approx(near, abs=1e-4)
    held = [latents["frequency_low"][i] <= truth[i] <= latents["frequency_high"][i] for i in follow]
    assert row["conjunctions"]["coverage"] == pytest.approx(sum(held) / len(held), abs=1e-4)


def test_the_verb_prints_a_table_and_draws_the_figure(cfg, rows, capsys):
    options = {"--sizes": [64], "--seeds": [0, 1], "--pairs": [500], "--training-steps": [150]}
    argv = [str(word) for name, values in options.items() for word in (name, *values)]
    main(["truth", "--out", str(cfg.out), "--n-workers", "1", *argv])
    told = capsys.readouterr().out
    assert "2 of 2 dictionaries are finished already" in told
    assert "64, k = 12" in told and "carried" in told
    root = ElementTree.fromstring((cfg.out / "truth.svg").read_text())
    dots = sum(
        path.get("d", "").count("M") for path in root.iter("{http://www.w3.org/2000/svg}path")
    )
    shown = [row for row in rows if row["score"] in ("mean_of_ratios", "carried")]
    assert dots == sum(sum(row["n"].values()) for row in shown) > 0


def test_finished_dictionaries_are_kept_unless_damaged_changed_or_unwanted(cfg, rows):
    def written(changed: SweepConfig) -> list[bool]:
        before = [path.stat().st_mtime_ns for path in cells(cfg)]
        again = run_sweep(changed)
        assert len(again.rows) == len(rows)
        return [path.stat().st_mtime_ns != at for path, at in zip(cells(cfg), before, strict=True)]

    assert written(cfg) == [False, False]
    damaged = cells(cfg)[1]
    damaged.write_text(damaged.read_text()[:1000])
    assert written(cfg) == [False, True]
    assert run_sweep(cfg).rows == rows
    assert written(replace(cfg, training_steps=60)) == [True, True]
    assert written(replace(cfg, training_steps=60, resume=False)) == [True, True]
