"""`mm-sae align`: towers for arms and seeds, on FactorWorld or on pictures of one's own."""

import json

import pytest

from mm_sae_plugin.applications.defense import arms
from mm_sae_plugin.applications.defense.fine_tuning import FineTuning
from mm_sae_plugin.applications.defense.towers import read_towers
from mm_sae_plugin.cli import main
from tests.applications.bias.faces import JOBS, draw_faces, write_table
from tests.labelled import sae_of_empty_files

TINY = ["--batch-size", "4", "--n-steps", "2", "--inner-steps", "1", "--n-scale-batches", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of 12 pictures with two occupations, and prompts for them."""
    folder = tmp_path_factory.mktemp("own")
    write_table(folder / "jobs.csv", draw_faces(folder, 12))
    prompts = {"templates": ["young person {} in red left"], "targets": list(JOBS)}
    (folder / "prompts.json").write_text(json.dumps(prompts))
    (folder / "few.json").write_text(json.dumps(prompts | {"targets": ["nurse", "cook"]}))
    one = (folder / "jobs.csv").read_text().replace("pilot", "nurse")
    (folder / "one.csv").write_text(one)
    return folder


def test_towers_of_factorworld(tmp_path, capsys):
    out = tmp_path / "towers"
    asked = ["align", "--out", str(out), "--n-images", "16", *TINY]
    main([*asked, "--arms", "FARE", "--seeds", "0", "1"])
    main([*asked, "--arms", "readings", "--seeds", "0"])
    told = capsys.readouterr().out
    found = read_towers(out)
    expected = [("FARE", 0), ("FARE", 1), ("readings", 0)]
    assert [(tower.arm, tower.seed) for tower in found] == expected
    for tower in found:
        assert f"{tower.arm}, seed {tower.seed}\n" in told and f"{tower.path}: " in told
        assert tower.card["tasks"] == ["object", "occupation", "colour", "backdrop"]
        assert tower.card["n_images"] == 16 and tower.card["alignment"]["n_steps"] == 2
    assert told.count("step 2 loss") == 3
    assert told.endswith(f"Judge them with `mm-sae robustness --towers {out}`.\n")
    # What is there is kept, and only what is missing is made.
    main([*asked, "--arms", "FARE", "--seeds", "1", "2"])
    assert capsys.readouterr().out.count("step 2 loss") == 1
    assert len(read_towers(out)) == 4


def test_towers_of_pictures_of_ones_own(folder, small_sae, tmp_path, capsys):
    asked = ["--images", str(folder / "jobs.csv"), "--label-col", "occupation", "--seeds", "4"]
    asked += ["--prompts", str(folder / "prompts.json"), "--sae", str(small_sae)]
    asked += ["--n-images", "8", "--arms", "TeCoA", "CrossD"]
    main(["align", "--out", str(tmp_path), *asked, *TINY])
    crossd, tecoa = read_towers(tmp_path)
    assert (crossd.arm, tecoa.arm) == ("CrossD", "TeCoA")
    for tower in (crossd, tecoa):
        assert tower.card["tasks"] == ["jobs"] and tower.card["n_images"] == 8
        assert len(set(tower.pictures)) == 8
        assert tower.seed == tower.card["alignment"]["seed"] == 4
    assert crossd.card["sae_id"] and crossd.card["latents"]["n_latents"] > 0
    assert "CrossD, seed 4" in capsys.readouterr().out


WITHOUT_SAE = ["FARE", "TeCoA", "readings"]
LATENTS = ["all latents", "ImgD", "TextD", "CrossD", "random like TextD"]


@pytest.mark.parametrize("with_sae", [False, True])
def test_arms_where_none_are_named(small_sae, tmp_path, monkeypatch, with_sae):
    class Enough(Exception):
        pass

    asked, expected = [], WITHOUT_SAE + (LATENTS if with_sae else [])

    def tower(self, name, seed, out, progress=False):
        asked.append(name)
        if len(asked) == len(expected):
            raise Enough
        return read_towers(tmp_path / "made")[0]

    card = {"arm": "a", "seed": 0, "base": "", "base_weights_id": "", "sha256": "", "seconds": 1}
    (tmp_path / "made/a-0").mkdir(parents=True)
    (tmp_path / "made/a-0/tower.json").write_text(json.dumps(card))
    monkeypatch.setattr(FineTuning, "tower", tower)
    # So small an SAE has no latents of some classes.
    monkeypatch.setattr(arms, "latents_of", lambda *_: None)
    sae = ["--sae", str(small_sae)] if with_sae else []
    with pytest.raises(Enough):
        main(["align", "--out", str(tmp_path / "out"), "--n-images", "4", "--seeds", "0", *sae])
    assert asked == expected


OWN = ["--images", "{folder}/jobs.csv", "--label-col", "occupation"]
WRONG = {
    "no such arm": (["--arms", "FARE", "fare"], "There is no arm 'fare': choose from FARE, TeCoA"),
    "no SAE": (["--arms", "TextD"], "The arm 'TextD' aligns latents: give a labelled SAE as --sae"),
    "no SAE, paper": (["--arms", "ImgD (paper)"], "The arm 'ImgD (paper)' aligns latents"),
    "a folder without an SAE": (["--sae", "{folder}"], "not an SAE folder"),
    "a store alone": (["--acts", "{folder}"], "give --sae with --acts"),
    "an SAE of another model": (
        ["--sae", "{sae}", "--model", "factorworld-biased"],
        "trained on factorworld (sha256:4dec533186d23b3a), but this model is factorworld-biased",
    ),
    "no such model": (["--model", "ViT-B-33"], "ViT-B-32"),
    "no images": (["--n-images", "0"], "--n-images must be at least 1, not 0"),
    "one seed": (["--seed", "3"], "--seed is that of one tower: give --seeds"),
    "no seeds": (["--seeds"], "--seeds names no seed: give one for each tower"),
    "a seed below 0": (
        ["--seeds", "0", "-1"],
        "A seed must be a whole number from 0, below 2^63, not -1",
    ),
    "eps above 1": (["--eps", "4"], "eps must be from 0 to 1 in pixels of [0, 1], not 4"),
    "eps below 0": (["--eps", "-0.01"], "eps must be from 0 to 1 in pixels of [0, 1], not -0.01"),
    "lr": (["--lr", "-0.001"], "lr must be a finite number above 0, not -0.001"),
    "steps": (["--n-steps", "0"], "n_steps must be a whole number from 1, not 0"),
    "no parts": (["--n-accumulated", "0"], "n_accumulated must be a whole number from 1, not 0"),
    "unequal parts": (["--n-accumulated", "3"], "A batch of 4 cannot be cut into 3 equal parts"),
    "few images": (["--n-images", "3"], "A batch of 4 is more than the 3 images"),
    "few images of one's own": (
        [*OWN, "--batch-size", "16", "--n-images", "99"],
        "A batch of 16 is more than the 12 images",
    ),
    "a class without latents": (
        ["--sae", "{sae}", "--arms", "FARE", "TextD"],
        "is TextD, so that the arm 'TextD' has nothing to align: leave it out",
    ),
    "no prompt": (
        [*OWN, "--prompts", "{folder}/few.json"],
        "The label 'pilot' of the task 'jobs' has no prompt: choose from nurse, cook",
    ),
    "one class": (
        ["--images", "{folder}/one.csv", "--label-col", "occupation"],
        "The task 'one' has one class only",
    ),
    "no such column": (OWN[:2], "jobs.csv has no column 'label': name one of image, gender"),
    "no table": (["--images", "{folder}/gone.csv"], "There is no file"),
    "no table, but its column": (
        ["--image-col", "image"],
        "--image-col is of pictures of your own",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gets_one_sentence(folder, small_sae, tmp_path, capsys, case):
    asked, named = WRONG[case]
    words = [word.format(folder=folder, sae=small_sae) for word in [*TINY, *asked]]
    images = [] if "--n-images" in words else ["--n-images", "8"]
    with pytest.raises(SystemExit) as stop:
        main(["align", "--out", str(tmp_path / "out"), *images, *words])
    told = capsys.readouterr().err
    assert stop.value.code == 2
    assert told.startswith("mm-sae: ") and told.count("\n") == 1 and named in told
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_none_is_named(any_types, folder, tmp_path, capsys):
    rows = draw_faces(tmp_path, 8)
    (tmp_path / rows[5]["image"]).write_bytes(b"none")
    table = write_table(tmp_path / "jobs.csv", rows)
    asked = ["--images", str(table), "--label-col", "occupation", "--arms", "FARE", *TINY]
    with pytest.raises(SystemExit) as stop:
        main(["align", "--out", str(tmp_path / "out"), *asked])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and told.count("\n") == 1
    assert "The picture 'faces/5.png' cannot be read" in told and "take its row out" in told


@pytest.mark.parametrize("taken", ["out", "out/FARE-0"])
def test_what_cannot_be_written_is_said_before_anything_is_opened(tmp_path, capsys, taken):
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("mine")
    with pytest.raises(SystemExit) as stop:
        sae = sae_of_empty_files(tmp_path / "sae")
        main(["align", "--out", str(tmp_path / "out"), "--sae", str(sae)])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and told.count("\n") == 1
    assert "cannot be written (" in told and f"{taken} is a file, not a folder" in told
    assert (tmp_path / taken).read_text() == "mine"


def test_other_settings_in_the_same_folder(tmp_path, capsys):
    asked = ["align", "--out", str(tmp_path), "--arms", "FARE", "--seeds", "0"]
    main([*asked, "--n-images", "8", *TINY])
    with pytest.raises(SystemExit) as stop:
        main([*asked, "--n-images", "9", *TINY])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and told.count("\n") == 1
    assert "FARE-0 holds a tower of other settings (n_images, images): give another folder" in told
