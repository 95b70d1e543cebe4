"""Figures: what is drawn is what was measured."""

import re
from xml.etree import ElementTree

import pytest
import torch

from mm_sae_plugin.report import terminal_table
from mm_sae_plugin.report.figures import (
    calibration_plot,
    firing_rate_scatter,
    score_histogram,
    whisker,
)
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.thumbnails import data_uri
from mm_sae_plugin.stats import ModalityDominance, ModalityStatistics
from mm_sae_plugin.stats.words import SharedWords, pieces
from tests.report.world import Case, make_case


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(400)


def test_histogram_counts_every_alive_latent_once(case):
    drawing = score_histogram(case.dominance)
    ElementTree.fromstring(drawing)
    for name in ("ImgD", "CrossD", "TextD", "Undetermined"):
        bars = re.findall(rf"<title>(\d+) {name} with", drawing)
        assert sum(map(int, bars)) == case.dominance.class_counts[name], name
        assert drawing.count(COLOURS[name]) == len(bars)


def test_extreme_scores_fall_inside_the_histogram():
    stats = ModalityStatistics(2)
    codes = torch.tensor([[1.0, 0.0]]).expand(30, 2)
    stats.update(codes, codes.flip(1), torch.arange(30))
    drawing = score_histogram(ModalityDominance.from_statistics(stats, rule="interval"))
    assert "1 ImgD with a score from 0.975 to 1.000" in drawing
    assert "1 TextD with a score from 0.000 to 0.025" in drawing


def test_every_alive_latent_has_its_dot(case):
    drawing = firing_rate_scatter(case.dominance)
    root = ElementTree.fromstring(drawing)
    n_alive = int(case.dominance.alive.sum())
    circles = root.findall(".//circle")
    assert len(circles) == n_alive
    assert all(0 <= float(c.attrib["cx"]) <= 500 for c in circles)
    assert all(0 <= float(c.attrib["cy"]) <= 420 for c in circles)


def test_every_followed_factor_has_its_dot(case):
    root = ElementTree.fromstring(calibration_plot(case.truth.calibration))
    rows = [row for row in case.truth.calibration.rows if row.median is not None]
    assert len(root.findall(".//circle")) == len(rows) > 10


def test_whisker_places_the_score():
    root = ElementTree.fromstring(whisker(0.25, 0.2, 0.35, "#123456"))
    circle = root.find(".//circle")
    assert circle is not None
    assert float(circle.attrib["cx"]) == pytest.approx(8 + 0.25 * 214)


def test_thumbnails_are_small_png_and_keep_their_shape():
    import base64
    import io

    from PIL import Image

    uri = data_uri(Image.new("CMYK", (800, 400)))
    small = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert small.format == "PNG" and small.size == (144, 72) and small.mode == "RGB"


def test_photographs_are_small_and_drawings_keep_every_pixel():
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    photograph = data_uri(Image.fromarray(noise))
    assert photograph.startswith("data:image/jpeg;base64,") and len(photograph) < 40_000
    assert data_uri(Image.new("RGB", (300, 300), "red")).startswith("data:image/png;base64,")


def test_shared_words_are_more_than_accident():
    captions = [f"a photo of thing{i} on a table" for i in range(90)]
    captions += [f"a photo of a cat{'' if i else '!'} number{i}" for i in range(10)]
    words = SharedWords(captions)
    assert words.shared(captions[90:96]) == ["cat"]
    assert words.shared(captions[:6]) == []
    # A word of every fourth caption in four of six: odds of 1 in 27, so it stays unmarked.
    often = SharedWords(["left calm", "left lovely", "right proud", "middle weird"] * 10)
    assert often.shared(["middle calm"] * 4 + ["middle proud"] * 2) == ["middle"]
    assert pieces("A <Cat> sat", ["cat"]) == [("A <", False), ("Cat", True), ("> sat", False)]
    assert pieces("cat", ["cat"]) == [("cat", True)] and pieces("", ["cat"]) == []


def test_long_captions_share_few_words_by_accident():
    """Hundreds of words, each in one caption of five: at odds of 1 in 200 many would be marked."""
    import random

    rng = random.Random(0)
    vocabulary = [f"word{i}" for i in range(2000)]
    captions = [" ".join(rng.sample(vocabulary, 400)) for _ in range(300)]
    words = SharedWords(captions)
    marked = [len(words.shared(rng.sample(captions, 6))) for _ in range(30)]
    assert sum(marked) <= 15


def test_labels_of_a_figure_do_not_touch():
    """Many latents at the ends, borders close together, rates down to one in 100,000."""
    stats = ModalityStatistics(60)
    generator = torch.Generator().manual_seed(0)
    for start in range(0, 20_000, 5000):
        codes = torch.rand(5000, 120, generator=generator)
        fires = torch.rand(5000, 120, generator=generator) < torch.logspace(-4.5, -0.2, 120)
        codes = codes * fires
        stats.update(codes[:, :60], codes[:, 60:].flip(1), torch.arange(start, start + 5000))
    for cutoffs in ((0.499, 0.501), (0.01, 0.99)):
        dominance = ModalityDominance.from_statistics(stats, cutoffs=cutoffs)
        for drawing in (score_histogram(dominance), firing_rate_scatter(dominance)):
            boxes = [_box(label) for label in ElementTree.fromstring(drawing).findall(".//text")]
            for i, one in enumerate(boxes):
                assert one[0] >= 0, "a label leaves the figure"
                for other in boxes[i + 1 :]:
                    apart = one[1] <= other[0] or other[1] <= one[0]
                    assert apart or one[3] <= other[2] or other[3] <= one[2], (one, other)


def _box(label: ElementTree.Element) -> tuple[float, float, float, float, str]:
    """Left, right, top and bottom of a label set in 12 pixels, and what it says."""
    content = label.text or ""
    x, y, width = float(label.attrib["x"]), float(label.attrib["y"]), 6.6 * len(content)
    shift = {"middle": width / 2, "end": width}.get(label.attrib.get("text-anchor", ""), 0)
    if "transform" in label.attrib:
        return x - 10, x + 4, y - width / 2, y + width / 2, content
    return x - shift, x - shift + width, y - 10, y + 3, content


def test_many_latents_are_drawn_in_little_space():
    n = 6000
    stats = ModalityStatistics(n)
    fires = torch.rand(40, n, generator=torch.Generator().manual_seed(0)) < 0.5
    stats.update(fires.float(), fires.flip(1).float(), torch.arange(40))
    dominance = ModalityDominance.from_statistics(stats)
    drawing = firing_rate_scatter(dominance)
    root = ElementTree.fromstring(drawing)
    assert len(drawing) < 60_000
    hints = [path.findtext("title") for path in root.findall("path")]
    counts = dominance.class_counts
    assert set(hints) == {f"{counts[c]} {c}" for c in counts if c != "Dead" and counts[c]}


def test_terminal_table_says_the_same(case):
    from rich.console import Console

    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    evaluation = {
        "explained_variance": {"image": 0.912, "text": 0.934},
        "l0": {"image": 14.2, "text": 13.1},
        "n_never_firing": 4,
        "n_never_firing_by_modality": {"image": 9, "text": 6},
    }
    console.print(terminal_table(case.dominance, evaluation, case.truth, case.truth))
    shown = console.export_text()
    for name, count in case.dominance.class_counts.items():
        assert re.search(rf"{name}\s*│\s*{count}\s*│", shown), name
    assert "0.912" in shown and "0.934" in shown
    best = case.dominance.strongest("ImgD", 1)[0]
    low, high = case.dominance.intervals[best].tolist()
    assert f"[{low:.2f}, {high:.2f}]" in shown
    assert "ImgD vs TextD" in shown and "graded factors" in shown
    assert re.search(r"latents that never fire\s*│\s*9\s*│\s*6\s*│", shown)
    assert re.search(r"never fire in either modality\s*│\s*4\s*│", shown)
