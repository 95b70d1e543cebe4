"""The audit card: made from the record alone, counts first, three questions kept apart."""

import html
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.embedding import embed_pictures
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.record import record_of_groups, record_of_twins
from mm_sae_plugin.applications.bias.sensitivity import sensitivity_of_twins
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.report.bias_card import bias_card, write_bias_card
from mm_sae_plugin.report.bias_examples import examples_of
from mm_sae_plugin.report.thumbnails import Thumbnail
from mm_sae_plugin.study import Study

HOSTILE = "</table><script>alert(1)</script>\"'&{{ 7*7 }}"


class Read(HTMLParser):
    """Tags with their attributes, and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self._in_style = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"
        if tag not in ("b", "bdi", "span", "a", "i"):
            self._text.append(" ")

    def handle_data(self, data):
        if not self._in_style:
            self._text.append(data)

    def handle_endtag(self, tag):
        self._in_style = False

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def plain(record):
    return json.loads(json.dumps(record, allow_nan=False))


@pytest.fixture(scope="module")
def study(small_sae):
    return Study.open(small_sae)


@pytest.fixture(scope="module")
def of_twins(study):
    found = asdict(sensitivity_of_twins(study.model, factorworld_prompts(), 2))
    record = record_of_twins(study.model, study, n_per_target=4, n_random=5, sensitivity=found)
    return plain(record)


@pytest.fixture(scope="module")
def of_groups(study):
    pairs = [FactorWorld(7000).pair_with(i, {}, "person") for i in range(240)]
    images = embed_pictures(study.model, [pair.image for pair in pairs])
    groups = Groups(
        tuple(pair.labels["drawn.gender"] for pair in pairs),
        tuple(pair.labels["drawn.occupation"] for pair in pairs),
    )
    source = {"name": "faces.csv", "left_out": {"no face was found": 3}, "columns": {}}
    return plain(
        record_of_groups(
            study.model, images, groups, factorworld_prompts(), "woman", source, study, n_random=5
        )
    )


@pytest.fixture(scope="module")
def of_three(study):
    """Three groups, without targets and without a direction."""
    images = normalize(torch.randn(90, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    prompts = PromptSet(("young person {} in red left",), {"nurse": ("nurse",)})
    source = {"name": "three.csv", "left_out": {}}
    groups = Groups(("a", "b", "c") * 30)
    return plain(record_of_groups(study.model, images, groups, prompts, "a", source, study))


@pytest.fixture(scope="module", params=["of_twins", "of_groups", "of_three"])
def record(request):
    return request.getfixturevalue(request.param)


def section(page: str, anchor: str) -> str:
    """What one section says."""
    found = re.search(rf'<section id="{anchor}".*?</section>', page, re.DOTALL)
    assert found is not None, anchor
    return Read(found.group()).text


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def test_counts_stand_before_any_metric(record):
    page = bias_card(record)
    read, counts = Read(page).text, section(page, "counts")
    assert "perceived" in counts and re.search(r"\d+\.\d", counts) is None
    start = read.index(counts)
    for found in record["targets"].values():
        assert read.index(signed(found["gap"])) > start + len(counts)
    for row in record["groups"]["counts"].values():
        assert " ".join(str(n) for n in row.values()) in counts


def test_pictures_that_cannot_be_read_are_counted_and_named(of_groups):
    lost = {"unreadable": {"a<b>.png": "no such file", "c.png": "not an image"}, "gone": ["diver"]}
    told = section(bias_card({**of_groups, "source": {**of_groups["source"], **lost}}), "counts")
    assert "2 pictures could not be read" in told and "diver" in told
    assert "a<b>.png" in told and "not an image" in told
    assert "could not be read" not in section(bias_card(of_groups), "counts")


def test_what_was_left_out_is_counted(of_groups):
    assert "3 rows of the data left out: no face was found." in section(
        bias_card(of_groups), "counts"
    )
    cut = {**of_groups, "not_compared": ["judge", "clerk"]}
    assert "fewer than two people: judge and clerk." in section(bias_card(cut), "counts")


def test_everything_that_was_asked_is_on_the_card(record):
    text = section(bias_card(record), "repeat")
    prompts = PromptSet.from_dict(record["prompts"]).prompts
    assert all(prompt in text for texts in prompts.values() for prompt in texts)
    for sentences in record.get("words", {}).values():
        assert all(sentence in text for sentence in sentences)
    for value in (record["model"]["weights_id"], record["versions"]["torch"]):
        assert value in text
    assert record["sae"]["sae_id"] in text and "seed 0" in text


def test_nothing_runs_and_nothing_is_fetched(record, study):
    latents = [] if record["attribution"] is None else record["attribution"]["latents"]
    page = bias_card(record, examples_of(study, [row["latent"] for row in latents]))
    read = Read(page)
    assert not read.names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert "@import" not in page and "url(" not in page
    for _, attributes in read.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    policies = [a.get("content") or "" for tag, a in read.tags if tag == "meta"]
    assert any("default-src 'none'" in policy and "script" not in policy for policy in policies)


def test_every_address_within_the_page_leads_somewhere(of_twins, study):
    latents = [row["latent"] for row in of_twins["attribution"]["latents"]]
    tags = Read(bias_card(of_twins, examples_of(study, latents))).tags
    places = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(places) == len(set(places))
    assert {a["href"] for _, a in tags if "href" in a} <= {f"#{place}" for place in places}


@pytest.mark.parametrize("name", ["woman", "nurse"])
def test_hostile_names_stay_text(of_groups, name):
    written = json.dumps(of_groups).replace(f'"{name}"', json.dumps(HOSTILE))
    read = Read(bias_card(json.loads(written)))
    assert "script" not in read.names and " ".join(HOSTILE.split()) in read.text
    assert read.tags.count(("table", {})) == Read(bias_card(of_groups)).tags.count(("table", {}))


def test_the_verdict_is_the_only_word_on_a_learned_association(of_twins):
    page = bias_card(of_twins)
    told = section(page, "direction")
    assert of_twins["verdict"].replace("by -", "by −") in told
    test = of_twins["direction"]
    assert f"{test['n_following']} of {test['n_targets']}" in told and "0.014" in told
    assert "no evidence of a learned association" in section(page, "larger")
    assert "This is no finding yet" in section(page, "gap")


def test_gaps_stand_with_intervals_and_values_without_bias(record):
    text = section(bias_card(record), "gap")
    for found in record["targets"].values():
        low, high = (signed(found[name]) for name in ("low", "high"))
        ends = [signed(end) for end in found["no_bias"]]
        assert f"{signed(found['gap'])} {low} to {high} {ends[0]} to {ends[1]}" in text


def test_nuisances_are_counted(of_twins):
    largest = max(of_twins["nuisances"].values())
    above = section(bias_card({**of_twins, "spread": largest + 1}), "larger")
    assert "further than those of all 8 flips" in above
    below = section(bias_card({**of_twins, "spread": largest - 1e-6}), "larger")
    assert "1 of 8 flips that mean nothing spreads as far or further" in below


def test_groups_of_different_people_have_no_second_answer(of_groups):
    assert "cannot be asked of groups of different people" in section(
        bias_card(of_groups), "larger"
    )
    source = {**of_groups["source"], "columns": {"twin": "pair"}}
    told = section(bias_card({**of_groups, "source": source}), "larger")
    assert "further twins" in told and "different people" not in told


def test_without_a_direction_nothing_is_said_of_a_learned_association(of_three, of_groups):
    page = bias_card(of_three)
    nothing = "so nothing is said of a learned association"
    assert f"No direction was stated, {nothing}" in section(page, "direction")
    assert "than images of the other groups" in section(page, "gap")
    assert of_three["attribution_left_out"] in html.unescape(section(page, "origin"))
    assert of_three["attribution_left_out"] in html.unescape(section(page, "mitigation"))
    assert "There is none" in section(page, "accuracy")
    untested = section(bias_card({**of_groups, "direction": None, "verdict": None}), "direction")
    assert f"could not be tested, {nothing}" in untested


def test_rankings_say_their_conventions_and_what_is_expected(of_groups, of_twins):
    told = section(bias_card(of_groups), "rankings")
    for words in ("natural logarithms", "images that tie", "nothing is smoothed"):
        assert words in told
    row = next(
        row for row in of_groups["metrics"]["nurse"]["rows"] if row["metric"] == "MaxSkew@50"
    )
    assert f"MaxSkew@50 {row['value']:.3f} {row['expected']:.3f}" in told
    assert "Not measured on twins" in section(bias_card(of_twins), "rankings")


def test_what_a_removal_costs_stands_beside_what_it_leaves(of_twins):
    page = bias_card(of_twins)
    told = section(page, "origin")
    for row in of_twins["attribution"]["classes"]:
        left, random = row["removed"]["value"], row["removed"]["random"]
        assert f"{signed(left)} {signed(min(random))} to {signed(max(random))}" in told
    for which in ("asymmetry", "asymmetry_paper"):
        assert of_twins["attribution"][which]["verdict"] in told
    told = section(page, "mitigation")
    for row in of_twins["mitigations"]:
        assert signed(row["measured"]["summary"]) in told
        assert f"{100 * row['measured']['readable']:.1f}%" in told


def test_sensitivity_is_shown_where_it_was_measured(of_twins, of_groups):
    told = section(bias_card(of_twins), "sensitivity")
    for change in of_twins["sensitivity"]["changes"]:
        assert f"{change['name']} {signed(change['summary'])}" in told
    assert "It was not measured" in section(bias_card(of_groups), "sensitivity")


def test_a_card_without_an_sae(study):
    record = plain(record_of_twins(study.model, n_per_target=2))
    page = bias_card(record)
    assert "SAE none given" in Read(page).text
    assert "No SAE was given." in section(page, "origin")


def test_exemplars_are_of_the_store_and_say_so(of_twins, study, tmp_path):
    path = write_bias_card(of_twins, tmp_path / "new" / "card.html", study)
    page = path.read_text(encoding="utf-8")
    told = section(page, "origin")
    assert "None of these is a picture that was audited" in told
    pictures = [a for tag, a in Read(page).tags if tag == "img"]
    assert pictures and all(picture["alt"] for picture in pictures)
    latent = of_twins["attribution"]["latents"][0]["latent"]
    found = examples_of(study, [latent])[latent]
    shown = found.images[0].shown
    assert isinstance(shown, Thumbnail) and shown.address and shown.address in page
    assert found.images[0].percent <= 100 >= found.captions[0].percent
    without = write_bias_card(of_twins, tmp_path / "card.html").read_text(encoding="utf-8")
    assert without == bias_card(of_twins) and "<img" not in without


def test_a_study_of_another_sae_is_refused(of_twins, study, tmp_path):
    other = {**of_twins, "sae": {**of_twins["sae"], "sae_id": "sha256:0"}}
    with pytest.raises(UserError, match="give the study that was audited"):
        write_bias_card(other, tmp_path / "card.html", study)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def card_with_long_names(of_groups, study, tmp_path_factory):
    record = json.loads(json.dumps(of_groups).replace('"nurse"', f'"{"nurse " * 20}"'))
    return write_bias_card(record, tmp_path_factory.mktemp("card") / "card.html", study)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_whole_at_every_width(browser, card_with_long_names, width, scheme):
    path = card_with_long_names
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        assert complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        # Letters of a drawing are as large as they are small print elsewhere.
        shown = page.locator(f"#gap .{'broad' if width > 700 else 'narrow'} svg text").first
        assert shown.bounding_box()["height"] >= 11
    finally:
        context.close()
