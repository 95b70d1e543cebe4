"""The report: complete, self-contained, safe against what captions contain."""

import re
from html.parser import HTMLParser

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.report import EvaluationFigures, render_report
from mm_sae_plugin.stats import ModalityDominance, ModalityStatistics, top_examples
from mm_sae_plugin.stats.config import RuleName
from tests.report.hard import SPECIAL
from tests.report.world import Case, make_case
from tests.stats.fakes import FakeStore, IdentityMap

EVALUATION = {
    "explained_variance": {"image": 0.912, "text": 0.934},
    "l0": {"image": 14.2, "text": 13.1},
    "n_never_firing": 5,
    "n_never_firing_by_modality": {"image": 12, "text": 7},
}
VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """Checks nesting, and collects what the tests ask for."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
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
    assert all(re.match(r"data:image/(png|jpeg);base64,|#", a) for a in page.addresses)
    # Its own script and the data of the index.
    assert page.tags.count("script") == 2 and "link" not in page.tags
    assert "://" not in re.sub(r"data:[^\"]*", "", source) and "url(" not in source
    assert all(picture["alt"] for picture in page.pictures) and len(page.pictures) > 20


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
    assert card.count('class="caption"') == 6
    rows = case.examples.text_rows[case.examples.latents.index(latent)].tolist()
    said = [case.store.labels[f"said.{entry.factor}"][row] for row in rows]
    assert said == [entry.value] * 6
    assert card.count("<img") == 6 and "<mark>" in card


def _one_store(captions: list[str], **fields: object) -> tuple[FakeStore, ModalityDominance]:
    rows = torch.rand(len(captions), 3, generator=torch.Generator().manual_seed(0))
    index = torch.arange(len(captions))
    stats = ModalityStatistics(3)
    stats.update(rows, rows, index)
    store = FakeStore(rows, rows, index, captions=captions, **fields)  # type: ignore[arg-type]
    return store, ModalityDominance.from_statistics(stats)


def test_captions_cannot_inject_markup(tmp_path):
    evil = "</script><script>alert(1)</script> & <img src=x onerror=y> \"' {{ 7 * 7 }}"
    store, dominance = _one_store([f"{evil} {i}" for i in range(40)], image_ids=[evil] * 40)
    path = render_report(
        tmp_path / "r.html",
        dominance,
        facts={"model": "<b>x</b>", evil: evil},
        provenance={evil: {evil: evil}},
        skipped=[(evil, evil)],
        store=store,
        examples=top_examples(IdentityMap(3), store, range(3)),
        title="<i>t</i>",
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("script") == 2 and "x" not in page.addresses
    assert "<b>x</b>" in page.text and "onerror" in page.text and "<i>t</i>" in page.text
    assert page.text.count(f"{evil} ") > 10


def test_captions_of_every_script_come_out_as_they_are(tmp_path):
    captions = [*SPECIAL, "two cars"] * 6
    store, dominance = _one_store(captions)
    examples = top_examples(IdentityMap(3), store, range(3), n_top=len(set(captions)))
    source = render_report(
        tmp_path / "r.html", dominance, store=store, examples=examples
    ).read_text(encoding="utf-8")
    text = Page(source).text
    for caption in SPECIAL:
        assert caption in text, caption
    assert "(empty caption)" in text
    # Each caption has the direction of its own script.
    assert source.count('class="caption" dir="auto"') >= len(SPECIAL) - 1


def test_an_image_that_is_gone_leaves_its_name_and_is_counted(case, tmp_path):
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
    assert page.pictures == []
    named = set(re.findall(r"not found (image-\d+)", page.text))
    assert f"{len(named)} of the {len(named)} pictures to be shown here were not found" in page.text


def test_what_was_lost_on_the_way_is_said(tmp_path):
    store, dominance = _one_store(["a caption"] * 40)
    path = tmp_path / "r.html"
    render_report(path, dominance, store=store)
    # All three latents of these random rows fire on everything.
    text = Page(path.read_text(encoding="utf-8")).text
    assert "3 of 3 latents are dense" in text
    assert "could not be used" not in text and "longer than" not in text
    skipped = [(f"{i}.png", f"damaged at byte {i}") for i in range(25)]
    render_report(path, dominance, store=store, skipped=skipped, n_captions_cut=1)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "25 of the images and captions could not be used" in text
    assert "damaged at byte 19" in text and "damaged at byte 20" not in text
    assert "1 caption is longer than the model reads" in text


def test_exactly_the_latents_asked_for_have_a_card(case, tmp_path):
    latents = [case.dominance.strongest("TextD", 9)[8], 0, case.dominance.n_features - 1]
    path = tmp_path / "r.html"
    render_report(
        path, case.dominance, store=case.store, examples=case.examples, latents=[*latents, 0]
    )
    source = path.read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r'id="latent-(\d+)"', source)] == latents
    with pytest.raises(UserError, match=f"no latent {case.dominance.n_features}: this SAE has"):
        render_report(path, case.dominance, latents=[case.dominance.n_features])


def test_provenance_stands_on_the_page(tmp_path):
    _, dominance = _one_store(["a"] * 20)
    groups = {"Data": {"pairs": "some/captions.csv", "images": "1,500"}, "Training": {}}
    path = render_report(tmp_path / "r.html", dominance, provenance=groups)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Data pairs some/captions.csv images 1,500 Training Not recorded." in text


def test_a_file_name_that_is_no_text_does_not_stop_the_page(tmp_path):
    _, dominance = _one_store(["a"] * 20)
    path = render_report(tmp_path / "r.html", dominance, facts={"SAE": "caf\udce9"})
    assert "caf?" in path.read_text(encoding="utf-8")


def test_only_a_dominance_is_needed(tmp_path):
    stats = ModalityStatistics(4)
    stats.update(torch.zeros(30, 4), torch.zeros(30, 4), torch.arange(30))
    dominance = ModalityDominance.from_statistics(stats)
    text = Page(render_report(tmp_path / "r.html", dominance).read_text(encoding="utf-8")).text
    assert "No latent of this class is shown." in text
    assert not re.search(r"\bnan\b", text.lower())


def test_the_papers_rule_comes_with_a_warning(tmp_path):
    """Two camps at the ends: mean ± one standard deviation is exactly the whole scale."""
    codes = torch.tensor([[1.0, 0.0]]).expand(30, 2)
    stats = ModalityStatistics(2)
    stats.update(codes, codes.flip(1), torch.arange(30))
    expected: tuple[tuple[RuleName, bool], ...] = (("paper", True), ("interval", False))
    for rule, warned in expected:
        dominance = ModalityDominance.from_statistics(stats, rule=rule)
        source = render_report(tmp_path / "r.html", dominance).read_text(encoding="utf-8")
        text = Page(source).text
        assert ("no latent can be TextD or ImgD" in text) == warned
        assert ("calls 2 latents CrossD although" in text) == warned


def test_evaluation_is_taken_as_training_gives_it():
    from mm_sae_plugin.training.evaluation import PerModalityEvaluation

    result = PerModalityEvaluation(
        {"image": 0.9, "text": 0.8}, {"image": 9.0, "text": 8.0}, {"image": 3, "text": 4}, 2, {}, 16
    )
    figures = EvaluationFigures.of(result)
    assert figures.n_never_firing == {"both": 2, "image": 3, "text": 4}
    assert figures.explained_variance == {"image": 0.9, "text": 0.8}
    quality = {name: EVALUATION[name] for name in ("explained_variance", "l0")}
    older = quality | {"n_dead": 5, "n_dead_by_modality": {"image": 6, "text": 7}}
    assert EvaluationFigures.of(older).n_never_firing == {"both": 5, "image": 6, "text": 7}
    older = quality | {"n_dead": {"image": 6, "text": 7}}
    assert EvaluationFigures.of(older).n_never_firing == {"image": 6, "text": 7}
    # summary.json: there `n_dead` counts latents too rare to be labelled.
    summary = quality | {"n_dead": 9, "n_never_firing_by_modality": {"image": 6, "text": 7}}
    assert EvaluationFigures.of(summary).n_never_firing == {"image": 6, "text": 7}
