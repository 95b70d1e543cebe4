"""The explorer through its endpoints and in a browser."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_sae_plugin.applications.explorer import Explorer, similarities
from mm_sae_plugin.demos.common.manifest import picture_hash
from mm_sae_plugin.demos.common.uploads import uploaded_picture
from mm_sae_plugin.demos.explorer.listing import Listing
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study import Study

CAPTION = "two red cars at dusk"
_CLASS = re.compile("ImgD|TextD|CrossD|Undetermined|Dead")


@pytest.fixture(scope="module")
def client(address_of):
    from gradio_client import Client

    client = Client(address_of("explorer"), verbose=False)
    yield client
    client.close()


@pytest.fixture
def card(tmp_path):
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "card.png")
    return tmp_path / "card.png"


def test_search_gives_a_scripts_latents(client, small_sae, card, tmp_path):
    from gradio_client import handle_file

    study = Study.open(small_sae)
    table = client.predict(CAPTION, api_name="/latents_of_caption")
    expected = study.latents_of(text=CAPTION, top=20)
    assert [row[1] for row in table["data"]] == [found.latent for found in expected]
    assert [row[0] for row in table["data"]] == [f"{found.activation:.3f}" for found in expected]
    table = client.predict(handle_file(str(card)), api_name="/latents_of_picture")
    expected = study.latents_of(image=card, top=20)
    assert [row[1] for row in table["data"]] == [found.latent for found in expected]
    (tmp_path / "card.txt").write_text("no picture")
    with pytest.raises(Exception, match="The picture cannot be used: not an image"):
        client.predict(handle_file(str(tmp_path / "card.txt")), api_name="/latents_of_picture")
    # A script may leave the file out and send an address that holds the bytes.
    payload = {"url": "data:image/png;base64,AAAA", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="Upload the picture as a file"):
        client.predict(payload, api_name="/latents_of_picture")
    with pytest.raises(Exception, match="The caption is empty"):
        client.predict("  ", api_name="/latents_of_caption")
    assert client.predict(CAPTION, api_name="/latents_of_caption")["data"]


def _browse(client, chosen="all classes", contains="", limits=("any", "", ""), page=1):
    order = ("latent", "smallest first")
    table, count, at = client.predict(chosen, contains, *limits, *order, page, api_name="/browse")
    assert f"page {at} of" in count
    return [row[0] for row in table["data"]], count


def test_the_table_is_filtered_and_sorted(client, small_sae):
    labels = Study.open(small_sae).labels
    assert _browse(client) == (list(range(50)), "64 latents, page 1 of 2")
    some = next(name for name in ("CrossD", "Undetermined") if labels.latents(name))
    assert _browse(client, some)[0] == labels.latents(some)[:50]
    assert _browse(client, page=99)[0] == list(range(50, 64))
    assert _browse(client, contains="no such word") == ([], "0 latents, page 1 of 1")
    low = _browse(client, limits=("the paper's score", "", "20%"))[0]
    paper = labels.table()["mean_of_ratios"]
    assert low == np.flatnonzero(paper.to_numpy() <= 0.2)[:50].tolist() and 0 < len(low) < 50
    for limits, message in (
        (("score", "much", ""), "much.* is no number"),
        (("score", "0.9", "10%"), "swap the two"),
        (("any", "0.9", ""), "Choose first what the limits are of"),
    ):
        with pytest.raises(Exception, match=message):
            _browse(client, limits=limits)


def test_every_column_sorts_with_missing_ones_last(small_sae):
    table = Explorer.open(Study.open(small_sae)).table
    listing = Listing(table)
    everything = listing.filtered("all classes", None, "any", None, None)
    for words, column in listing.sorts.items():
        for largest_first in (True, False):
            latents = listing.sorted(everything, words, largest_first)
            assert sorted(latents["latent"]) == table["latent"].tolist()
            if column not in table:
                continue
            values = latents[column]
            has = values.notna() & (values.astype(str) != "")
            assert not has.iloc[has.sum() :].any()
            kept = values[has].tolist()
            assert kept == sorted(kept, reverse=largest_first)


def test_a_latents_page(client, small_sae, card):
    study = Study.open(small_sae)
    latent = study.latents_of(image=card, top=1)[0].latent
    number, shown, page, _, pairs, without = client.predict(latent, False, api_name="/latent")
    assert number == shown == latent and f"Latent {latent}" in page and "carried" in page
    _, _, heated, *_ = client.predict(latent, True, api_name="/latent")
    assert heated.count("<img") == page.count("<img") > 0 and heated != page
    for nothing in (-1, 64):
        with pytest.raises(Exception, match=rf"no latent {nothing}|Show a latent first"):
            client.predict(nothing, 0, api_name="/without")
    with pytest.raises(Exception, match="no latent 64"):
        client.predict(64, False, api_name="/latent")
    # Removing it from a pair is what a script finds.
    for pair in (pairs["value"], 7, "7: two red cars"):
        without = client.predict(latent, pair, api_name="/without")
        row = int(str(pair).partition(":")[0])
        caption = study.store.captions[row]
        image = study.store.open_image(int(study.store.image_index[row]))
        assert image is not None
        assert f"{study.compare(image, caption).similarity:.3f}" in without
        assert f"{study.without([latent], image, caption):.3f}" in without
    for pair in ("99999", "one"):
        with pytest.raises(Exception, match=f"no pair .*{pair}"):
            client.predict(latent, pair, api_name="/without")


def test_a_comparison_and_edits(client, small_sae, card, tmp_path):
    from gradio_client import handle_file

    study = Study.open(small_sae)
    latent = study.latents_of(image=card, top=1)[0].latent
    asked = (handle_file(str(card)), CAPTION, "a blue cup")
    times = "times their activation"
    picture, caption, moved, _, *sliders = client.predict(
        *asked, str(latent), times, None, api_name="/compare"
    )
    similarity = study.compare(card, CAPTION).similarity
    assert f"{similarity:.3f}" in picture and f"#{latent}" in picture
    assert "What the caption" in caption and f"{similarity:.3f}" in moved
    assert [slider["visible"] for slider in sliders] == [True] + [False] * 5
    assert sliders[0]["label"].startswith(f"#{latent} ")
    values = (0, 1, 1, 1, 1, 1)
    moved, manifest, preset = client.predict(*values, api_name="/edit")
    without = study.without([latent], card, CAPTION)
    assert f"{without:.3f}" in moved
    assert f"{round(without, 3) - round(similarity, 3):+.3f}" in moved
    told = json.loads(Path(manifest).read_text())
    assert told["edit"]["steps"][0]["latents"] == [latent]
    assert told["asked"] == {
        "picture_sha256": picture_hash(uploaded_picture(card)),
        "captions": [CAPTION, "a blue cup"],
    }
    assert (told["sae"]["sae_id"], told["model"]["weights_id"]) == (study.sae_id, study.weights_id)
    assert str(Path.home()) not in json.dumps(told)
    # The preset does the same, and that of another SAE is refused.
    given = handle_file(preset)
    again = client.predict(*asked, "", times, given, api_name="/compare")[2]
    assert f"{without:.3f}" in again
    other = json.loads(Path(preset).read_text()) | {"sae_id": "another"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    (tmp_path / "text.json").write_text("no json")
    for name, message in (("other", "of the SAE another, and"), ("text", "text.json is no preset")):
        with pytest.raises(Exception, match=message):
            given = handle_file(str(tmp_path / f"{name}.json"))
            client.predict(*asked, "", times, given, api_name="/compare")
    for wrong, message in (
        ("12, x", "is no latent"),
        ("64", "no latent 64"),
        ("1,2,3,4,5,6,7", "at most 6 latents"),
    ):
        with pytest.raises(Exception, match=message):
            client.predict(*asked, wrong, times, None, api_name="/compare")


def test_a_slider_can_fire_what_is_silent(client, small_sae, card):
    from gradio_client import handle_file

    study = Study.open(small_sae)
    codes, _ = study.codes(images=[card])
    assert codes is not None
    typical = study.labels.statistics.channel("image_squared").nan_to_num()
    silent = int(((codes[0] == 0) * typical).argmax())
    asked = (handle_file(str(card)), CAPTION, "", str(silent), "plus typical activations", None)
    client.predict(*asked, api_name="/compare")
    moved, _, preset = client.predict(1, 0, 0, 0, 0, 0, api_name="/edit")
    edit = FeatureEdit.add(study, 1, latents=[silent])
    assert FeatureEdit.load(preset, study) == edit
    picture = uploaded_picture(card)
    (after,) = similarities(study, picture, [CAPTION], edit)
    assert f"{after:.3f}" in moved
    assert after != pytest.approx(study.compare(picture, CAPTION).similarity, abs=1e-3)


def test_cards_are_drawn_by_hand(client):
    anything = ["any"] * 17
    first, said = client.predict(3, "any", *anything, api_name="/card")
    again, same = client.predict(3, "any", *anything, api_name="/card")
    _, other = client.predict(4, "any", *anything, api_name="/card")
    assert said == same != other
    assert Image.open(first).tobytes() == Image.open(again).tobytes()
    chosen = ("kite", "big", "one", "pink", "left")
    _, said = client.predict(3, "objects", *chosen, *anything[5:], api_name="/card")
    assert "one big pink kite left" in said
    with pytest.raises(Exception, match=r"has no (object|age)"):
        mixed = ("kite", *anything[1:6], "old", *anything[7:])
        client.predict(3, "any", *mixed, api_name="/card")


def test_the_table_and_a_page_can_be_kept(visit, address_of, small_sae):
    opened = visit(address_of("explorer"))
    table = _kept(opened.page, "the whole table as CSV", "latents.csv")
    assert table.splitlines()[0].startswith("latent,class,mds")
    assert len(table.splitlines()) == 1 + Study.open(small_sae).labels.n_features
    held = _kept(opened.page, "the whole table as Parquet", "latents.parquet")
    assert held.startswith("PAR1")
    opened = visit(f"{address_of('explorer')}/?latent=12")
    opened.page.get_by_role("heading", name=re.compile("Latent 12")).wait_for()
    page = _kept(opened.page, "this page as one HTML file", "latent-12.html")
    assert "<h2>Latent 12" in page and "data:image/png;base64" in page
    assert "http" not in page and "<a " not in page
    with opened.page.expect_download() as downloaded:
        opened.page.get_by_role("button", name="Save this page as PNG").click()
    assert downloaded.value.suggested_filename == "latent-12.png"
    picture = Image.open(downloaded.value.path())
    assert picture.width == 2200 and picture.height > 1000
    # More than a blank sheet: text, bars and pictures.
    colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None and len(colours) > 200


def _kept(page, what: str, name: str) -> str:
    page.get_by_role("button", name=f"Prepare {what}").click()
    with page.expect_download() as downloaded:
        page.get_by_role("button", name=f"Download {name}").click()
    assert downloaded.value.suggested_filename == name
    return downloaded.value.path().read_bytes().decode("utf-8", errors="replace")


def test_ratings_are_blind_and_kept(client, small_sae):
    ratings = small_sae / "blind_ratings.csv"
    ratings.unlink(missing_ok=True)
    latent, examples, _, told = client.predict(api_name="/rate")
    assert told.startswith("0 rated") and "<img" in examples
    assert "lt-soft" not in examples.replace("<p class='lt-soft'>None", "")
    for name in ("ImgD", "TextD", "CrossD", "Undetermined"):
        assert name not in examples
    with pytest.raises(Exception, match="Choose an answer first"):
        client.predict(latent, None, api_name="/save_rating")
    for _ in range(10):
        latent, _, _, told = client.predict(latent, "both", api_name="/save_rating")
    assert told.startswith("10 rated")
    assert len(ratings.read_text().splitlines()) == 11
    ratings.unlink()


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_search_answers_to_the_keyboard(visit, address_of, screenshots, width, scheme):
    opened = visit(address_of("explorer"), width, color_scheme=scheme)
    opened.page.get_by_label("a caption").focus()
    opened.page.keyboard.type(CAPTION)
    opened.tab_to("Search by caption")
    opened.page.keyboard.press("Enter")
    # Gradio keeps a second, hidden copy of a table to measure by.
    answer = opened.page.get_by_role("grid", name="Latents that fire")
    answer.get_by_role("gridcell", name=_CLASS).first.wait_for()
    opened.page.screenshot(path=screenshots / f"browse-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("width", [1280, 420])
def test_a_latent_has_an_address_of_its_own(visit, address_of, screenshots, width):
    opened = visit(f"{address_of('explorer')}/?latent=12", width)
    opened.page.get_by_role("heading", name=re.compile("Latent 12")).wait_for()
    opened.page.screenshot(path=screenshots / f"latent-{width}.png", full_page=True)
    opened.page.get_by_label("Latent", exact=True).fill("5")
    opened.page.get_by_role("button", name="Show the latent").click()
    opened.page.get_by_role("heading", name=re.compile("Latent 5")).wait_for()
    opened.page.wait_for_url("**latent=5")
    opened.page.reload()
    opened.page.get_by_role("heading", name=re.compile("Latent 5")).wait_for()


@pytest.mark.parametrize("asked", ["9999", "one", "1.5", "-1", "", "9" * 5000])
def test_an_address_of_no_latent_is_told_where_it_would_stand(visit, address_of, asked):
    opened = visit(f"{address_of('explorer')}/?latent={asked}")
    opened.page.get_by_text(f"The address asks for latent '{asked[:40]}'").wait_for()
    opened.page.get_by_role("tab", name="One latent", selected=True).wait_for()


def test_back_and_forward_lead_from_latent_to_latent(visit, address_of):
    opened = visit(address_of("explorer"))
    table = opened.page.get_by_role("grid", name="Latents, 50 on a page")
    table.get_by_role("gridcell", name=_CLASS).first.click()
    opened.page.wait_for_url("**latent=*")
    first = opened.page.url
    opened.page.get_by_label("Latent", exact=True).fill("5")
    opened.page.get_by_label("Show where it fires").check()
    opened.page.get_by_role("heading", name=re.compile("Latent ")).wait_for()
    opened.page.get_by_role("button", name="Show the latent").click()
    opened.page.wait_for_url("**latent=5&heat=1")
    opened.page.go_back()
    number = first.partition("latent=")[2]
    opened.page.get_by_role("heading", name=re.compile(f"Latent {number}")).wait_for()
    opened.page.go_back()
    opened.page.get_by_role("tab", name="Browse", selected=True).wait_for()


def test_what_is_kept_is_the_latent_that_is_shown(visit, address_of):
    opened = visit(f"{address_of('explorer')}/?latent=12")
    opened.page.get_by_role("heading", name=re.compile("Latent 12")).wait_for()
    opened.page.get_by_label("Latent", exact=True).fill("5")
    with opened.page.expect_download() as downloaded:
        opened.page.get_by_role("button", name="Save this page as PNG").click()
    assert downloaded.value.suggested_filename == "latent-12.png"
    assert "<h2>Latent 12" in _kept(opened.page, "this page as one HTML file", "latent-12.html")


def test_a_refusal_leaves_the_fields_to_be_mended(visit, address_of):
    opened = visit(address_of("explorer"))
    opened.page.get_by_role("tab", name="Rate blind").click()
    opened.page.get_by_role("button", name="Show a latent").click()
    opened.page.get_by_role("heading", name="Images", exact=True).wait_for()
    opened.page.get_by_role("button", name="Save the answer").click()
    opened.page.get_by_role("status").get_by_text("Choose an answer first").wait_for()
    opened.page.get_by_label("cannot tell").check(timeout=2000)


def test_a_card_is_compared_and_the_manifest_kept(visit, address_of, screenshots):
    from playwright.sync_api import expect

    opened = visit(address_of("explorer"), 420)
    opened.page.get_by_role("tab", name="Try it").click()
    opened.page.get_by_role("button", name="Draw a FactorWorld card").click()
    expect(opened.page.get_by_label("Caption", exact=True)).not_to_have_value("")
    opened.page.get_by_role("button", name="Compare").click()
    opened.page.get_by_text("Similarity of the picture with each caption").wait_for()
    # All that follows a comparison is over.
    expect(opened.page.get_by_role("button", name="Download the manifest")).to_be_enabled()
    # Sliders answer to the keyboard.
    opened.page.get_by_role("slider").first.focus()
    similarities_told = opened.page.get_by_role("table").last
    unmoved = similarities_told.inner_text()
    opened.page.keyboard.press("Home")
    expect(similarities_told).not_to_have_text(unmoved, use_inner_text=True)
    opened.page.screenshot(path=screenshots / "try-420.png", full_page=True)
    with opened.page.expect_download() as downloaded:
        opened.page.get_by_role("button", name="Download the manifest").click()
    assert downloaded.value.suggested_filename == "explorer-manifest.json"
    assert json.loads(downloaded.value.path().read_text())["asked"]["captions"]


def test_a_fault_is_a_sentence_in_the_page(visit, address_of, screenshots):
    opened = visit(address_of("explorer"))
    opened.page.get_by_role("button", name="Search by caption").click()
    opened.page.get_by_role("status").get_by_text("The caption is empty").wait_for()
    opened.page.screenshot(path=screenshots / "explorer-fault.png")
