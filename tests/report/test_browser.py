"""The page in a browser: no network, no errors, no sideways scrolling, usable by keyboard."""

from pathlib import Path
from typing import Any

import pytest

from mm_sae_plugin.report import render_report
from mm_sae_plugin.stats import ModalityDominance
from tests.report.hard import EVALUATION, FACTS, PROVENANCE, SKIPPED, hard_case
from tests.report.world import rare_statistics

TRAINING = {
    "architecture": "topk",
    "rescale_acts_by_decoder_norm": "true",
    "activations": "480082cdd5b127934a893ad125a55a84",
    **{f"setting_of_a_training_number_{i}": i for i in range(20)},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    case = hard_case(1500, 600)
    return render_report(
        tmp_path_factory.mktemp("page") / "report.html",
        case.dominance,
        facts=FACTS,
        provenance={**PROVENANCE, "Training": TRAINING},
        evaluation=EVALUATION,
        store=case.store,
        examples=case.examples,
        skipped=SKIPPED,
        n_captions_cut=480,
        n_per_class=3,
    )


class Visit:
    """An open page, and what it asked for and complained about."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, **settings: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def rows(self) -> list[str]:
        return self.page.locator("#latent-index tbody tr td:first-child").all_inner_texts()

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_whole_at_every_width(browser, path, width, scheme):
    with Visit(browser, path, width, color_scheme=scheme) as visit:
        page = visit.page
        asked = [url for url in visit.asked if not url.startswith("data:")]
        assert asked == [path.as_uri()] and visit.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)")
        unlabelled = page.evaluate(
            "[...document.querySelectorAll('input,select,button')]"
            ".filter(e => !e.textContent.trim() && !e.labels?.length).length"
        )
        assert unlabelled == 0


def test_long_captions_open_by_keyboard(browser, path):
    with Visit(browser, path) as visit:
        page = visit.page
        caption = page.locator("details.caption").first
        assert not caption.locator("p").is_visible()
        summary = caption.locator("summary")
        summary.focus()
        page.keyboard.press("Enter")
        assert caption.locator("p").is_visible()
        assert not caption.locator(".short").is_visible()
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_the_index_is_searched_sorted_and_lengthened(browser, path):
    with Visit(browser, path) as visit:
        page = visit.page
        assert len(visit.rows()) == 200
        page.get_by_role("button", name="Show 200 more").click()
        assert len(visit.rows()) == 400
        page.get_by_label("Search").fill("lighthouse")
        assert "8" in visit.rows() and len(visit.rows()) < 20
        assert "of 600 latents" in page.get_by_role("status").inner_text()
        page.get_by_label("Search").fill("577")
        assert visit.rows()[0] == "577"
        page.get_by_label("Search").fill("no such word")
        assert visit.rows() == []
        page.get_by_label("Search").fill("")
        page.get_by_role("combobox", name="Class").select_option("dense only")
        assert sorted(map(int, visit.rows())) == list(range(7))
        page.get_by_role("combobox", name="Class").select_option("TextD")
        page.get_by_role("button", name="captions", exact=True).click()
        texts = page.locator("#latent-index tbody tr").all_inner_texts()
        rates = [float(text.split("\t")[-1].rstrip("%")) for text in texts]
        assert rates == sorted(rates, reverse=True) and all("TextD" in text for text in texts)
        page.get_by_role("button", name="captions", exact=True).press("Enter")
        assert page.locator("[aria-sort=ascending]").inner_text().startswith("captions")
        assert visit.complaints == []


def test_without_scripts_the_first_lines_stand(browser, path):
    with Visit(browser, path, java_script_enabled=False) as visit:
        assert len(visit.rows()) == 200
        assert not visit.page.locator("#finder").is_visible()
        assert visit.page.locator("noscript p").is_visible()
        visit.page.locator("details.caption summary").first.click()
        assert visit.page.locator("details.caption p").first.is_visible()


def test_captions_are_text_and_never_markup(browser, path):
    with Visit(browser, path) as visit:
        visit.page.get_by_label("Search").fill("alert")
        assert any("<script>" in text for text in visit.page.locator(".about").all_inner_texts())
        # Even markup that got in by another way could not run.
        visit.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            "{textContent: 'window.caught = true'}))"
        )
        assert visit.page.evaluate("window.caught === undefined")


@pytest.mark.parametrize("width", [850, 390])
def test_figures_fit_their_cards_and_can_be_read(browser, path, width):
    with Visit(browser, path, width) as visit:
        drawn = visit.page.evaluate(
            "[...document.querySelectorAll('.drawing .figure')].filter(f => f.clientWidth).map("
            "f => {const own = f.getBoundingClientRect();"
            "  const card = f.closest('.card').getBoundingClientRect();"
            "  const size = parseFloat(getComputedStyle(f.querySelector('text')).fontSize);"
            "  const letters = [...f.querySelectorAll('text')].map(t => t.getBoundingClientRect());"
            "  return {fits: own.right <= card.right && letters.every(l => l.left >= card.left"
            "          && l.right <= card.right),"
            "    pixels: size * own.width / f.viewBox.baseVal.width}})"
        )
        # The histogram, once, and the firing rates.
        assert len(drawn) == 2
        assert all(figure["fits"] and figure["pixels"] > 9.5 for figure in drawn), drawn


def test_a_table_wider_than_its_card_shows_that_more_follows(browser, path):
    with Visit(browser, path, 390) as visit:
        index = visit.page.get_by_role("group", name="Index of all latents")
        assert index.evaluate("e => e.scrollWidth > e.clientWidth")
        # The shade is there only while something is hidden.
        index.scroll_into_view_if_needed()
        edge = "e => { e.scrollLeft = %s; }"
        index.evaluate(edge % "0")
        before = index.screenshot()
        index.evaluate(edge % "e.scrollWidth")
        after = index.screenshot()
        assert _right_edge(before) < _right_edge(after)


def _right_edge(screenshot: bytes) -> float:
    """How bright the pixels are, on average, just inside the right edge."""
    from io import BytesIO

    from PIL import Image, ImageStat

    image = Image.open(BytesIO(screenshot)).convert("L")
    strip = image.crop((image.width - 5, 40, image.width - 2, image.height - 40))
    return ImageStat.Stat(strip).median[0]


@pytest.mark.parametrize("width", [1280, 390])
def test_provenance_breaks_no_word_and_no_group(browser, path, width):
    with Visit(browser, path, width) as visit:
        fragments = visit.page.evaluate(
            "[...document.querySelectorAll('.sources>div')].map(e => e.getClientRects().length)"
        )
        assert fragments == [1] * len(fragments) and len(fragments) == 2
        broken = visit.page.evaluate(
            "[...document.querySelectorAll('dt')].flatMap(dt => [...dt.childNodes].filter(n => {"
            "  const range = document.createRange(); range.selectNodeContents(n);"
            "  const isWord = n.nodeType === 3 && !n.data.includes(' ');"
            "  return isWord && range.getClientRects().length > 1}).map(n => n.data))"
        )
        assert broken == []


def test_rare_and_dead_latents_read_the_same_with_and_without_scripts(browser, tmp_path):
    dominance = ModalityDominance.from_statistics(rare_statistics())
    path = render_report(tmp_path / "rare.html", dominance)
    lines = []
    for scripts in (True, False):
        with Visit(browser, path, java_script_enabled=scripts) as visit:
            rows = visit.page.locator("#latent-index tbody tr").all()
            lines.append([row.locator("td").all_inner_texts() for row in rows])
    assert lines[0] == lines[1]
    by_latent = {line[0]: line[3:] for line in lines[0]}
    assert by_latent["1"] == ["–", "–", "0.0%", "<0.1%"]
    assert by_latent["2"] == ["–", "–", "0.0%", "0.0%"]
    assert by_latent["0"][2:] == ["50.0%", "50.0%"]


def test_the_card_of_a_dead_latent_has_no_score(browser, tmp_path):
    dominance = ModalityDominance.from_statistics(rare_statistics())
    path = render_report(tmp_path / "dead.html", dominance, latents=[1, 2])
    with Visit(browser, path) as visit:
        rare, never = visit.page.locator("article.latent").all_inner_texts()
        assert "too rarely for a score" in rare and "<0.1% of captions" in rare
        assert "Never fires" in never and "%" not in never
