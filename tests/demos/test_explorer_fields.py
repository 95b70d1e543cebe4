"""The explorer's fields: what scripts send, and results that are out of date."""

import pytest


@pytest.fixture(scope="module")
def client(address_of):
    from gradio_client import Client

    client = Client(address_of("explorer"), verbose=False)
    yield client
    client.close()


@pytest.fixture
def card(client):
    from gradio_client import handle_file

    picture, _ = client.predict(3, "any", *["any"] * 11, api_name="/card")
    return handle_file(picture)


def test_what_scripts_send_is_answered_with_sentences(client, card):
    times = "times their activation"
    for endpoint, fields, message in (
        ("/latents_of_caption", [None], "The caption is empty"),
        ("/compare", [card, None, "", "", times, None], "The caption is empty"),
        ("/latent", ["abc", False], "The latent must be a whole number"),
        ("/without", ["abc", 0], "The latent must be a whole number"),
        ("/save_rating", ["abc", "both"], "The latent must be a whole number"),
        ("/save_rating", [99, "both"], "no latent 99"),
    ):
        with pytest.raises(Exception, match=message):
            client.predict(*fields, api_name=endpoint)
    client.predict(card, "two red cars", None, None, times, None, api_name="/compare")
    with pytest.raises(Exception, match=r"slider of latent \d+ .* is empty"):
        client.predict(None, 1, 1, 1, 1, 1, api_name="/edit")


def test_a_comparison_of_something_else_is_marked(visit, address_of):
    from playwright.sync_api import expect

    opened = visit(address_of("explorer"))
    stale = opened.page.get_by_text("What is below is of an earlier picture or captions")
    opened.page.get_by_role("tab", name="Try it").click()
    opened.page.get_by_role("button", name="Draw a FactorWorld card").click()
    caption = opened.page.get_by_label("Caption", exact=True)
    expect(caption).not_to_have_value("")
    opened.page.get_by_role("button", name="Compare").click()
    opened.page.get_by_text("Similarity of the picture with each caption").wait_for()
    expect(stale).to_have_count(0)
    caption.fill("one blue cup")
    caption.blur()
    stale.wait_for()
    opened.page.get_by_role("button", name="Compare").click()
    expect(stale).to_have_count(0)
    opened.page.get_by_label("Card number").fill("7")
    opened.page.get_by_role("button", name="Draw a FactorWorld card").click()
    stale.wait_for()
