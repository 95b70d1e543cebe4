"""The report: complete, self-contained, safe against what captions contain."""

import re
from html.parser import HTMLParser

import pytest
import torch

from mm_sae_plugin.report import EvaluationFigures, render_report
from mm_sae_plugin.report.page import latents_to_show
from mm_sae_plugin.stats import ModalityDominance, ModalityStatistics, top_examples
from mm_sae_plugin.stats.config import RuleName
from tests.report.world import Case, make_case
from tests.stats.fakes import FakeStore, IdentityMap

EVALUATION = {
    "explained_variance": {"image": 0.912, "text": 0.934},
    "l0": {"image": 14.2, "text": 13.1},
    "n_dead": {"image": 12, "text": 7},
}
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks nesting, and collects what the tests ask for."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def source(case, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    returned = render_report(
        path,
        case.dominance,
        facts={"model": "some <clip>"},
        evaluation=EVALUATION,
        store=case.store,
        examples=case.examples,
        truth=case.truth,
        untrained=case.truth,
        n_per_class=3,
    )
    assert returned == path
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_markup_is_well_formed_and_asks_for_nothing_outside(source):
    page = Page(source)
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags
    assert "http" not in re.sub(r"data:[^\"]*", "", source) and "url(" not in source


def test_everything_promised_is_there(source, case):
    text = Page(source).text
    for expected in ("0.912", "0.934", "14.2", "13.1", "some <clip>", "strongest images"):
        assert expected in text, expected
    for name, count in case.dominance.class_counts.items():
        assert re.search(rf"{count}\s+{name}", text), name
    best = case.dominance.strongest("TextD", 1)[0]
    assert f"Latent {best} " in text
    low, high = case.dominance.intervals[best].tolist()
    assert f"[{low:.2f}, {high:.2f}]" in text
    assert case.truth.by_latent()[best].factor in text


def test_images_and_captions_of_a_latent_are_its_own(source, case):
    # A cross-modal latent of a value: its captions say it.
    latent = case.dominance.strongest("CrossD", 1)[0]
    entry = case.truth.by_latent()[latent]
    card = source.split(f'id="latent-{latent}"')[1].split("</article>")[0]
    captions = re.findall(r"<li><span>(.*?)</span>", card)
    assert len(captions) == 6
    rows = case.examples.text_rows[case.examples.latents.index(latent)].tolist()
    said = [case.store.labels[f"said.{entry.factor}"][row] for row in rows]
    assert said == [entry.value] * 6
    assert card.count("<img") == 6 and "<mark>" in card


def test_captions_cannot_inject_markup(tmp_path):
    captions = ["<script>alert(1)</script> & <img src=x onerror=y>"] * 40
    rows = torch.rand(40, 3)
    store = FakeStore(rows, rows, torch.arange(40), captions=captions)
    stats = ModalityStatistics(3)
    stats.update(rows, rows, torch.arange(40))
    dominance = ModalityDominance.from_statistics(stats)
    shown = [i for latents in latents_to_show(dominance).values() for i in latents]
    path = render_report(
        tmp_path / "r.html",
        dominance,
        facts={"model": "<b>x</b>"},
        store=store,
        examples=top_examples(IdentityMap(3), store, shown),
        title="<i>t</i>",
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert "script" not in page.tags and "x" not in page.addresses
    assert "<b>x</b>" in page.text and "onerror" in page.text


def test_an_image_that_is_gone_leaves_its_name(case, tmp_path):
    class Gone(FakeStore):
        def open_image(self, row):
            if row % 2:
                raise FileNotFoundError(row)
            return None

    store = Gone(
        case.store.images, case.store.texts, case.store.image_index, captions=case.store.captions
    )
    path = render_report(tmp_path / "r.html", case.dominance, store=store, examples=case.examples)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.addresses == []
    assert re.search(r"image-\d+", page.text)


def test_only_a_dominance_is_needed(tmp_path):
    stats = ModalityStatistics(4)
    stats.update(torch.zeros(30, 4), torch.zeros(30, 4), torch.arange(30))
    dominance = ModalityDominance.from_statistics(stats)
    text = Page(render_report(tmp_path / "r.html", dominance).read_text(encoding="utf-8")).text
    assert "No latent has this class" in text
    assert not re.search(r"\bnan\b", text.lower())


def test_a_class_out_of_reach_is_pointed_out(tmp_path):
    """Two camps at the ends: mean ± one standard deviation is exactly the whole scale."""
    codes = torch.tensor([[1.0, 0.0]]).expand(30, 2)
    stats = ModalityStatistics(2)
    stats.update(codes, codes.flip(1), torch.arange(30))
    expected: tuple[tuple[RuleName, bool], ...] = (("paper", True), ("interval", False))
    for rule, warned in expected:
        dominance = ModalityDominance.from_statistics(stats, rule=rule)
        source = render_report(tmp_path / "r.html", dominance).read_text(encoding="utf-8")
        assert ("no latent can be TextD or ImgD" in Page(source).text) == warned


def test_evaluation_is_taken_as_training_gives_it():
    from mm_sae_plugin.training.evaluation import PerModalityEvaluation

    result = PerModalityEvaluation(
        {"image": 0.9, "text": 0.8}, {"image": 9.0, "text": 8.0}, {"image": 3, "text": 4}, 2, {}, 16
    )
    figures = EvaluationFigures.of(result)
    assert figures.n_dead == {"both": 2, "image": 3, "text": 4}
    assert figures.explained_variance == {"image": 0.9, "text": 0.8}
    assert EvaluationFigures.of(EVALUATION | {"n_dead": 5}).n_dead == {"both": 5}
