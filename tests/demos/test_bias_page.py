"""The bias page through its endpoints: what it shows is what the library measures."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from mm_sae_plugin.applications.bias.attribution import SIDES
from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.applications.bias.twin_audit import audit_twins
from mm_sae_plugin.applications.bias.twins import GENDER, NUISANCES
from mm_sae_plugin.demos.bias.attributing import OWN, PAPER
from mm_sae_plugin.demos.bias.drawing import signed
from mm_sae_plugin.demos.bias.drilling import choices
from mm_sae_plugin.demos.bias.subject import FLIPS, called, prompts_for
from mm_sae_plugin.interventions import FeatureEdit

FIELDS = {
    "tab": "audit",
    "flip": "gender:woman/man",
    "model": "factorworld-biased",
    "by": OWN,
    "show": "",
    "classes": [],
    "concepts": [],
    "latents": "",
    "side": "both",
    "occupation": "nurse",
    "pair": 1,
}


@pytest.fixture(scope="module")
def client(bias):
    from gradio_client import Client

    client = Client(bias.address, verbose=False)
    yield client
    client.close()


@pytest.fixture
def biased(bias):
    return bias.subjects[1]


def ask(client, endpoint: str, **changed):
    assert changed.keys() <= FIELDS.keys()
    return client.predict(*(FIELDS | changed).values(), api_name=f"/{endpoint}")


def test_both_models_are_audited_side_by_side(client, bias):
    html, _ = ask(client, "audit")
    # Sizes come before anything that is measured.
    assert html.index("Who is compared") < html.index("The direction test")
    assert "32 pairs of twins" in html and html.count("<td>4</td><td>4</td><td>48</td>") == 8
    for subject in bias.subjects:
        expected = audit_twins(subject.study.model, n_per_target=4)
        assert expected.verdict in html
        for target, found in expected.targets.items():
            gap, low, high = map(signed, (found.gap, found.interval.low, found.interval.high))
            assert f"{target} {gap}, interval {low} to {high}" in html
        for name, spread in expected.nuisances.items():
            assert re.search(rf"{re.escape(name)}</th><td>{spread:.2f}<", html)
    assert "Only the direction test speaks of a learned association" in html
    assert html.count('role="img"') == 2 == html.count('aria-label="Gaps of factorworld')


@pytest.mark.parametrize("key", list(FLIPS)[1:])
def test_what_means_nothing_is_audited_alike(client, bias, key):
    flip = FLIPS[key]
    assert flip in NUISANCES
    html, twins = ask(client, "audit", flip=key)
    expected = audit_twins(bias.subjects[0].study.model, prompts_for(flip), flip, 4)
    assert expected.verdict in html and "means nothing here" in html
    assert f"only the {flip[0]} differs" in html
    # Nothing was planted: a small p is chance, and is called so.
    assert ("By chance" in html) == any(s.audit(flip).direction.p <= 0.05 for s in bias.subjects)
    assert "<td>yes" not in html
    # A flip is not compared with itself.
    assert "the 7 flips that mean nothing" in html and called(flip) in expected.nuisances
    assert f"A drawn nurse: {flip[1]}" in twins and f"A drawn nurse: {flip[2]}" in twins


def test_the_directions_of_gender_are_the_ones_that_were_planted():
    assert prompts_for(GENDER).direction["nurse"] == "woman"
    assert prompts_for(("age", "young", "old")).direction["builder"] == "old"


def test_classes_are_shown_by_either_score(client, biased):
    pages = {by: ask(client, "attribution", by=by) for by in (OWN, PAPER)}
    for by, html in pages.items():
        rows = [
            row
            for row in biased.attributed.classes
            if row.removed.name.endswith(" (paper)") == (by == PAPER)
        ]
        assert rows and html.count('class="random"') == 20 * len(rows)
        for row in rows:
            assert signed(row.removed.value) in html and signed(row.measured.summary) in html
            assert f"{row.measured.readable:.2f}</td>" in html
    assert biased.attributed.asymmetry.reason in pages[OWN].replace("&#x27;", "'")
    assert pages[OWN] != pages[PAPER]


def test_a_model_without_an_association_is_said_to_have_little_to_attribute(client):
    doubt = "This model’s gaps do not follow the direction"
    assert doubt in ask(client, "attribution", model="factorworld")
    assert doubt not in ask(client, "attribution")


def test_a_concept_is_looked_into(client, biased):
    _, value = choices(biased)[0]
    html = ask(client, "latents", show=value)
    for latent in map(int, value.split(",")):
        page = biased.explorer.page(latent)
        assert f"<h4>#{latent} " in html
        assert all(f"{one.activation:.2f}</figcaption>" in html for one in page.top_images[:6])
        score = page.scores["carried"]
        assert f"[{score.low:.2f}, {score.high:.2f}]" in html
    row = biased.attributed.concepts[0]
    assert f"<b>{signed(row.taken)}</b> on both" in html
    assert ask(client, "latents", show="") == ""


def test_another_model_brings_its_own_choices(client, bias):
    plain = bias.subjects[0]
    show, _, concepts, latents, *shown = ask(
        client, "model", model="factorworld", latents="1, 2", classes=["CrossD"]
    )
    assert [value for _, value in show["choices"]] == [value for _, value in choices(plain)]
    assert concepts["value"] == [] and latents == ""
    assert all("factorworld-biased" not in html for html in shown)
    assert "Nothing is taken out yet." in shown[-1]
    # A visit keeps the choices that it was shown last.
    ask(client, "model")


@pytest.mark.parametrize("side", SIDES)
def test_what_is_taken_out_is_measured(client, biased, side):
    _, value = choices(biased)[0]
    latents = sorted({*map(int, value.split(",")), 3})
    html = ask(client, "toggle", concepts=[value], latents="#3", side=side)
    after = biased.bench.measure(FeatureEdit.ablate(biased.study, latents=latents), side)
    before = biased.attributed.measured
    assert f"{len(latents)} latents of factorworld-biased taken out" in html
    assert f"<td>{signed(before.summary)}</td><td>{signed(after.summary)}</td>" in html
    for target, gap in after.gaps.items():
        assert f"{target} {signed(before.gaps[target])} to {signed(gap)}" in html
    assert f"<td>{before.readable:.2f}</td>" in html and f"{after.readable:.2f}" in html
    for name, share in after.zero_shot.items():
        assert re.search(rf"{name} found</th><td>\d\.\d\d</td><td>[^/]*{share:.2f}", html)


def test_erasure_is_said_to_be_erasure(client, biased):
    name = max(("ImgD", "TextD", "CrossD"), key=biased.study.labels.class_counts.__getitem__)
    html = ask(client, "toggle", classes=[name])
    after = biased.bench.measure(FeatureEdit.ablate(biased.study, classes=name))
    assert biased.attributed.measured.retrieval - after.retrieval > 0.1
    assert "he model is of less use for anything else.</b>" in html
    assert "<b>" not in ask(client, "toggle").split("<table")[0]


def test_twins_are_compared(client, bias):
    html = ask(client, "twins", occupation="pilot", pair=3)
    assert html.count("data:image/png;base64,") == 2
    assert "A drawn pilot: woman" in html and "A drawn pilot: man" in html
    for subject in bias.subjects:
        twins = subject.twins(GENDER)
        pairs = [at for at, name in enumerate(twins.targets) if name == "pilot"]
        gaps = [subject.gap_of_pair(twins, at) for at in pairs]
        mean = subject.audit(GENDER).targets["pilot"].gap
        assert sum(gaps) / len(gaps) == pytest.approx(mean, abs=1e-4)
        told = f"{subject.name}</th><td>{signed(gaps[2])}</td><td>{signed(mean)}</td>"
        assert told in html


def test_the_card_is_that_of_the_model(client, biased):
    page = Path(ask(client, "card")["value"]).read_text()
    assert "Bias audit of factorworld-biased on twins of FactorWorld" in page
    assert biased.audit(GENDER).verdict in unescape(page) and "<script" not in page


def test_the_audit_can_be_kept(client, biased):
    told = json.loads(Path(ask(client, "record")["value"]).read_text())
    assert told["verdict"] == biased.audit(GENDER).verdict
    assert told["model"]["weights_id"] == biased.study.weights_id
    assert told["sae"]["sae_id"] == biased.study.sae_id
    assert told["groups"]["counts"]["nurse"] == {"man": 4, "woman": 4}
    assert told["attribution"]["whole"] == pytest.approx(biased.attributed.whole)


def test_the_manifest_repeats_it(client, biased):
    path = ask(client, "manifest", latents="3,5", side="text", pair=2)["value"]
    told = json.loads(Path(path).read_text())
    edit = FeatureEdit.ablate(biased.study, latents=[3, 5])
    assert FeatureEdit.from_dict(told["edit"]) == edit
    asked = told["asked"]
    assert (asked["side"], asked["pair"], asked["latents"]) == ("text", 2, [3, 5])
    assert PromptSet.from_dict(asked["prompts"]) == prompts_for(GENDER)
    assert asked["beside"][0]["model"] == "factorworld"
    assert told["model"]["weights_id"] == biased.study.weights_id
