"""The figure and the table of a sweep."""

import io
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from mm_sae_plugin.report.truth_figure import TruthPanel, truth_figure
from mm_sae_plugin.report.truth_table import sweep_table

CONTRASTS = ("ImgD_vs_TextD", "ImgD_vs_shared", "TextD_vs_shared")
SVG = "{http://www.w3.org/2000/svg}"


def row(score: str, auroc: float | None, within: float, **fields):
    return {
        "model": "factorworld",
        "architecture": "topk",
        "d_sae": 512,
        "k": 16,
        "seed": 0,
        "score": score,
        "auroc": dict.fromkeys(CONTRASTS, auroc),
        "n": {"ImgD": 10, "CrossD": 20, "TextD": 10},
        "within": within,
        "coverage": 0.8,
    } | fields


ROWS = [
    row("mean_of_ratios", 0.431, 0.5),
    row("mean_of_ratios", 0.77, 0.6, seed=1),
    row("frequency", 0.123, 0.123),
    row("carried", 0.998, 0.97),
    row("carried", 1.0, 1.0, seed=1),
]
LATENTS = {
    "dominance": [0.5, 0.5, 0.71, 0.29],
    "modality": ["CrossD", "CrossD", "ImgD", "TextD"],
    "eta2": [0.9, 0.4, 0.8, 0.7],
    "mean_of_ratios": [0.1, 0.2, 0.9, 0.3],
    "carried": [0.5, 0.5, None, 0.3],
}


def drawn(**options):
    panels = [TruthPanel(d, 16, ROWS, [LATENTS]) for d in (512, 4096)]
    return ElementTree.fromstring(truth_figure(panels, 0.07, **{"min_eta2": 0.5} | options))


def test_every_latent_with_a_factor_and_a_score_is_one_dot():
    def n_dots(root) -> list[int]:
        return [len(re.findall("M", path.get("d", ""))) for path in root.iter(f"{SVG}path")]

    # TextD, CrossD, ImgD in each of two panels in each of two rows.
    assert n_dots(drawn()) == [1, 1, 1] * 2 + [1, 1, 0] * 2
    assert n_dots(drawn(min_eta2=0.2)) == [1, 2, 1] * 2 + [1, 2, 0] * 2


def test_captions_give_the_range_and_the_share_over_seeds():
    told = [text.text for text in drawn().iter(f"{SVG}text")]
    assert told.count("AUROC 0.43–0.77") == told.count("AUROC 1.00") == 2
    assert told.count("55% within 0.07") == told.count("98% within 0.07") == 2
    assert "4,096 latents" in told and not any("12%" in str(line) for line in told)


def test_all_that_is_drawn_lies_inside():
    root = drawn()
    width, height = (float(root.get(name, "nan")) for name in ("width", "height"))
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", "nan")) <= width
        assert 0 <= float(text.get("y", "nan")) <= height


@pytest.fixture
def lines():
    console = Console(width=80, file=io.StringIO(), color_system=None)
    other = {"architecture": "matryoshka_batchtopk", "model": "factorworld-declip", "d_sae": 4096}
    console.print(sweep_table([*ROWS, row("carried", None, 0.9, **other)]))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_fits_a_narrow_terminal(lines):
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80 and "…" not in text
    assert "matryoshka_batchtopk" in text and "4,096, k = 16, declip" in text


def test_the_table_shows_ranges_over_seeds(lines):
    (paper,) = (line for line in lines if re.match(r"topk +paper", line))
    (carried,) = (line for line in lines if re.match(r"512, k = 16 +carried", line))
    assert paper.split()[2:] == [".43–.77"] * 3 + ["50–60%", "80%"]
    assert carried.split()[5:] == ["1.00"] * 3 + ["97–100%", "80%"]
