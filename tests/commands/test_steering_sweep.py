"""`mm-sae steering-sweep` writes a sheet: a row a class, a column a strength."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers")

from mm_sae_plugin import Study
from mm_sae_plugin.cli import main
from mm_sae_plugin.factorworld.generator import save_generator
from mm_sae_plugin.report.strengths import strengths_sheet
from tests.factorworld.generator.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def given(small_sae, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("sweep") / "generator"
    save_generator(tiny_pipeline(), folder)
    return ["--sae", str(small_sae), "--pipeline", str(folder)]


def test_every_class_that_has_latents_has_a_row(small_sae, given, tmp_path, capsys):
    labels = Study.open(small_sae).labels
    filled = [name for name in ("ImgD", "CrossD", "Dead") if labels.latents(name)]
    assert len(filled) > 0
    out = tmp_path / "made/sweep.png"
    asked = ["--classes", "ImgD", "CrossD", "Dead", "--strengths", "0", "1"]
    main(["steering-sweep", *given, "--out", str(out), *asked])
    assert f"Wrote {out}" in capsys.readouterr().out
    sheet = Image.open(out)
    one = Image.new("RGB", (64, 64))
    alike = strengths_sheet("a", 0, one, [("ImgD", "", [(0.0, one), (1.0, one)])] * len(filled))
    assert sheet.size == alike.size


def test_pictures_keep_their_place_and_proportions():
    red, blue = (Image.new("RGB", size, c) for size, c in (((64, 64), "red"), ((80, 40), "blue")))
    sheet = np.asarray(strengths_sheet("a cup", 3, red, [("ImgD", "2", [(0.0, red), (1.0, blue)])]))
    is_red, is_blue = ((sheet == colour).all(2) for colour in ((255, 0, 0), (0, 0, 255)))
    # The reference and the first column; the second is twice as wide as high.
    assert is_red.sum() == 2 * 128 * 128 and is_blue.sum() == 128 * 64
    assert np.nonzero(is_red)[1].max() < np.nonzero(is_blue)[1].min()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--classes", "Blue"], "There is no class 'Blue'"),
        (["--out", "sweep.txt"], "no name of a PNG file"),
        (["--strengths"], "There is no strength to draw"),
        (["--strengths", "nan"], "strength must be"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--prompt", " "], "The prompt is empty"),
        (["--image", "gone.png"], "gone.png"),
    ],
)
def test_what_cannot_be_drawn_is_told(given, tmp_path, asked, message, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["steering-sweep", *given, "--out", "sweep.png", *asked])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
