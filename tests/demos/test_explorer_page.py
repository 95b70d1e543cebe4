"""The explorer through its endpoints and in a browser."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

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
    assert [row[0] for row in table["data"]] == pytest.approx(
        [found.activation for found in expected], abs=1e-3
    )
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
    with pytest.raises(Exception, match="There is nothing to search for"):
        client.predict("  ", api_name="/latents_of_caption")
    assert client.predict(CAPTION, api_name="/latents_of_caption")["data"]


def test_the_table_is_filtered_and_sorted(client, small_sae):
    labels = Study.open(small_sae).labels
    everything, count = client.predict("all classes", "", "latent", 1, api_name="/browse")
    assert [row[0] for row in everything["data"]] == list(range(50))
    assert count == "64 latents, page 1 of 2"
    some = next(name for name in ("CrossD", "Undetermined") if labels.latents(name))
    of_class, _ = client.predict(some, "", "latent", 1, api_name="/browse")
    assert [row[0] for row in of_class["data"]] == labels.latents(some)[:50]
    rest, count = client.predict("all classes", "", "latent", 99, api_name="/browse")
    assert [row[0] for row in rest["data"]] == list(range(50, 64))
    none, count = client.predict("all classes", "no such word", "latent", 1, api_name="/browse")
    assert none["data"] == [] and count.startswith("0 latents")


def test_a_latents_page_and_a_comparison(client, small_sae, card):
    from gradio_client import handle_file

    study = Study.open(small_sae)
    latent = study.latents_of(image=card, top=1)[0].latent
    number, page, _ = client.predict(latent, False, api_name="/latent")
    assert number == latent and f"Latent {latent}" in page and "carried" in page
    _, heated, _ = client.predict(latent, True, api_name="/latent")
    assert heated.count("<img") == page.count("<img") > 0 and heated != page
    with pytest.raises(Exception, match="no latent 64"):
        client.predict(64, False, api_name="/latent")
    asked = (handle_file(str(card)), CAPTION, "a blue cup", str(latent), 0)
    picture, caption, moved, manifest = client.predict(*asked, api_name="/compare")
    similarity = study.compare(card, CAPTION).similarity
    assert f"{similarity:.3f}" in picture and f"#{latent}" in picture
    assert "What the caption" in caption
    assert f"{study.without([latent], card, CAPTION):.3f}" in moved
    told = json.loads(Path(manifest).read_text())
    assert told["edit"]["steps"][0]["latents"] == [latent]
    assert (told["sae"]["sae_id"], told["model"]["weights_id"]) == (study.sae_id, study.weights_id)
    assert str(Path.home()) not in json.dumps(told)
    for wrong, message in (("12, x", "is no latent"), ("64", "no latent 64")):
        with pytest.raises(Exception, match=message):
            client.predict(*asked[:3], wrong, 0, api_name="/compare")


def test_cards_are_drawn_by_their_number(client):
    first, said = client.predict(3, api_name="/card")
    again, same = client.predict(3, api_name="/card")
    _, other = client.predict(4, api_name="/card")
    assert said == same != other
    assert Image.open(first).tobytes() == Image.open(again).tobytes()


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


@pytest.mark.parametrize("asked", ["9999", "one"])
def test_an_address_of_no_latent_is_told(visit, address_of, asked):
    opened = visit(f"{address_of('explorer')}/?latent={asked}")
    opened.page.get_by_role("status").get_by_text(asked).wait_for()
    opened.page.get_by_role("tab", name="Browse").wait_for()


def test_a_card_is_compared_and_the_manifest_kept(visit, address_of, screenshots):
    opened = visit(address_of("explorer"), 420)
    opened.page.get_by_role("tab", name="Try it").click()
    opened.page.get_by_role("button", name="Draw a FactorWorld card").click()
    opened.page.get_by_role("button", name="Compare").click()
    opened.page.get_by_text("Similarity of the picture with each caption").wait_for()
    opened.page.screenshot(path=screenshots / "try-420.png", full_page=True)
    with opened.page.expect_download() as downloaded:
        opened.page.get_by_role("button", name="Download the manifest").click()
    assert downloaded.value.suggested_filename == "explorer-manifest.json"
    assert json.loads(downloaded.value.path().read_text())["asked"]["caption"]


def test_a_fault_is_a_sentence_in_the_page(visit, address_of, screenshots):
    opened = visit(address_of("explorer"))
    opened.page.get_by_role("button", name="Search by caption").click()
    opened.page.get_by_role("status").get_by_text("There is nothing to search for").wait_for()
    opened.page.screenshot(path=screenshots / "explorer-fault.png")
