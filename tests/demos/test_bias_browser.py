"""The bias page in a browser: the first result, latents taken out by keys, a card to keep."""

import re

import pytest


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_gap_is_seen_and_taken_out(visit, bias, screenshots, width, scheme):
    from playwright.sync_api import expect

    opened = visit(bias.address, width, color_scheme=scheme)
    page = opened.page
    page.get_by_text("The gaps follow the stated direction: 8 of 8").wait_for()
    expect(page.get_by_role("img", name="Gaps of factorworld-biased")).to_be_visible()
    shots = screenshots / f"bias-{width}-{scheme}"
    page.screenshot(path=f"{shots}-audit.png", full_page=True)
    page.get_by_role("tab", name="Attribution").click()
    expect(page.get_by_role("img", name="What is left of the gap")).to_be_visible()
    page.screenshot(path=f"{shots}-attribution.png", full_page=True)
    page.get_by_role("tab", name="Toggle").click()
    page.get_by_text("Nothing is taken out yet.").wait_for()
    box = page.get_by_role("checkbox", name=re.compile("#")).first
    box.focus()
    page.keyboard.press("Space")
    page.get_by_text(re.compile(r"\d+ latents? of factorworld-biased taken out")).wait_for()
    page.wait_for_url("**latents=*")
    page.screenshot(path=f"{shots}-toggle.png", full_page=True)
    # A link brings it all back.
    again = visit(page.url)
    expect(again.page.get_by_role("checkbox", name=re.compile("#")).first).to_be_checked()
    page.get_by_role("tab", name="Twins").click()
    page.get_by_alt_text("A drawn nurse: woman").wait_for()
    unnamed = page.evaluate("[...document.images].filter((p) => !p.alt).length")
    assert unnamed == 0
    opened.check()


def test_another_model_is_looked_into(visit, bias):
    opened = visit(f"{bias.address}/?tab=attribution&show=5")
    opened.page.get_by_role("heading", name="Latent #5 of factorworld-biased").wait_for()
    opened.page.wait_for_url("**model=*")
    opened.page.get_by_role("radio", name="factorworld", exact=True).check()
    opened.page.get_by_role("heading", name="By class: factorworld", exact=True).wait_for()
    opened.page.wait_for_url(re.compile(r"model=factorworld(&|$)"))


def test_a_fault_is_a_sentence_in_the_page(visit, bias):
    opened = visit(f"{bias.address}/?tab=toggle")
    opened.page.wait_for_url("**model=*")
    opened.page.get_by_label("Other latents to take out").fill("999")
    opened.page.keyboard.press("Enter")
    opened.page.get_by_text("'999' is no latent of factorworld-biased").first.wait_for()


def test_the_manifest_is_prepared_anew_for_what_is_shown(visit, bias):
    opened = visit(bias.address)
    # The address is written once the page is there.
    opened.page.wait_for_url("**model=*")
    button = opened.page.get_by_role("button", name="Prepare the manifest")
    button.click()
    opened.page.get_by_role("link", name="Download bias-manifest.json").or_(
        opened.page.get_by_role("button", name="Download bias-manifest.json")
    ).first.wait_for()
    opened.page.get_by_role("radio", name="factorworld", exact=True).check()
    button.wait_for()
