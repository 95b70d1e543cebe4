"""The explorer through its endpoint and in a browser."""

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


def test_the_endpoint_gives_a_scripts_latents(client, small_sae):
    table, manifest = client.predict(CAPTION, api_name="/latents_of_caption")
    expected = Study.open(small_sae).latents_of(text=CAPTION, top=12)
    assert [row[0] for row in table["data"]] == [found.latent for found in expected]
    assert [row[1] for row in table["data"]] == pytest.approx(
        [found.activation for found in expected], abs=1e-4
    )
    told = json.loads(Path(manifest).read_text())
    study = Study.open(small_sae)
    assert told["asked"]["caption"] == CAPTION
    assert (told["sae"]["sae_id"], told["model"]["weights_id"]) == (study.sae_id, study.weights_id)
    assert told["versions"]["gradio"] and told["versions"]["mm_sae_plugin"]
    assert str(Path.home()) not in json.dumps(told)


def test_a_picture_is_answered_and_a_fault_is_a_sentence(client, small_sae, tmp_path):
    from gradio_client import handle_file

    picture, text = tmp_path / "card.png", tmp_path / "card.txt"
    Image.effect_noise((64, 64), 80).convert("RGB").save(picture)
    text.write_text("no picture")
    table = client.predict(handle_file(str(picture)), api_name="/latents_of_picture")
    expected = Study.open(small_sae).latents_of(image=picture, top=12)
    assert [row[0] for row in table["data"]] == [found.latent for found in expected]
    with pytest.raises(Exception, match="The picture cannot be used: not an image"):
        client.predict(handle_file(str(text)), api_name="/latents_of_picture")
    # A script may leave the file out and send an address that holds the bytes.
    payload = {"url": "data:image/png;base64,AAAA", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="Upload the picture as a file"):
        client.predict(payload, api_name="/latents_of_picture")
    with pytest.raises(Exception, match="Type a caption first"):
        client.predict("  ", api_name="/latents_of_caption")
    assert client.predict(CAPTION, api_name="/latents_of_caption")[0]["data"]


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_answers_to_the_keyboard(visit, address_of, screenshots, width, scheme):
    opened = visit(address_of("explorer"), width, color_scheme=scheme)
    opened.tab_to("Caption")
    opened.page.keyboard.type(CAPTION)
    opened.tab_to("Which latents fire")
    opened.page.keyboard.press("Enter")
    # Gradio keeps a second, hidden copy of a table to measure by.
    answer = opened.page.get_by_role("grid", name="Latents that fire on the caption")
    answer.get_by_role("gridcell", name=_CLASS).first.wait_for()
    opened.page.screenshot(path=screenshots / f"explorer-{width}-{scheme}.png", full_page=True)


def test_the_manifest_can_be_downloaded(visit, address_of):
    opened = visit(address_of("explorer"))
    opened.page.get_by_label("Caption", exact=True).fill(CAPTION)
    opened.page.keyboard.press("Enter")
    with opened.page.expect_download() as downloaded:
        opened.page.get_by_role("button", name="Download the manifest").click()
    assert downloaded.value.suggested_filename == "explorer-manifest.json"
    assert json.loads(downloaded.value.path().read_text())["asked"]["caption"] == CAPTION


def test_a_fault_is_a_sentence_in_the_page(visit, address_of, screenshots):
    opened = visit(address_of("explorer"))
    opened.page.get_by_role("button", name="Which latents fire").click()
    opened.page.get_by_role("status").get_by_text("Type a caption first").wait_for()
    opened.page.screenshot(path=screenshots / "explorer-fault.png")
