"""The steering page in a browser: keys, sliders that draw, and a stop in mid-generation."""

import re
import threading
import urllib.parse

import pytest

pytest.importorskip("diffusers")

from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.steering import reading
from mm_sae_plugin.errors import UserError
from tests.demos.test_steering_page import is_clean

_DRAWN = re.compile(r"Drawn with seed \d+")


def _press(opened, name: str) -> None:
    opened.page.get_by_role("button", name=name, exact=True).click()


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_prompt_is_drawn_by_keys_alone(visit, steering, screenshots, width, scheme):
    opened = visit(steering.address, width, color_scheme=scheme)
    opened.page.get_by_label("Prompt").focus()
    opened.tab_to("Draw before and after")
    opened.page.keyboard.press("Enter")
    opened.page.get_by_text(_DRAWN).wait_for()
    opened.page.get_by_alt_text("as it is").wait_for()
    opened.page.get_by_alt_text("with the edit").wait_for()
    opened.page.get_by_text("things that the prompt asks for").wait_for()
    unnamed = opened.page.evaluate("[...document.images].filter((p) => !p.alt).length")
    assert unnamed == 0
    opened.page.screenshot(path=screenshots / f"steering-{width}-{scheme}.png", full_page=True)


def test_a_strength_that_moves_draws_again(visit, steering):
    from playwright.sync_api import expect

    opened = visit(steering.address)
    _press(opened, "Draw before and after")
    opened.page.get_by_text(_DRAWN).wait_for()
    expect(opened.page.get_by_role("button", name="Download the manifest")).to_be_enabled()
    moved = opened.page.locator(".st-part b").first
    before = moved.inner_text()
    opened.page.get_by_role("slider", name=re.compile("CrossD")).focus()
    opened.page.keyboard.press("Home")
    expect(moved).not_to_have_text(before)
    opened.page.wait_for_url("**CrossD=-2*")
    # A link brings it all back.
    again = visit(opened.page.url)
    expect(again.page.get_by_role("slider", name=re.compile("CrossD"))).to_have_value("-2")


def test_an_address_sets_the_page(visit, steering):
    from playwright.sync_api import expect

    asked = urllib.parse.urlencode({"prompt": "one blue cup", "seed": 12, "CrossD": "0.5"})
    opened = visit(f"{steering.address}/?{asked}")
    expect(opened.page.get_by_label("Prompt")).to_have_value("one blue cup")
    _press(opened, "Draw before and after")
    opened.page.get_by_text("Drawn with seed 12").wait_for()
    opened = visit(f"{steering.address}/?seed=many&CrossD=nan")
    opened.page.get_by_text("What the address gives for seed and CrossD cannot be").wait_for()


def test_a_drawing_is_stopped_in_its_middle(visit, steering, screenshots):
    opened, gate, at_step = visit(steering.address), threading.Event(), []

    def wait(*_):
        at_step.append(1)
        gate.wait(120)

    hook = steering.painter.denoiser.register_forward_hook(wait)
    try:
        _press(opened, "Draw before and after")
        opened.page.get_by_text("Drawing it as it is: step 13 of 24").wait_for()
        opened.page.screenshot(path=screenshots / "steering-step.png", full_page=True)
        _press(opened, "Stop")
        opened.page.get_by_text("Stopping …").wait_for()
        gate.set()
        opened.page.get_by_text("Stopped at step 13 of 24").wait_for()
    finally:
        gate.set()
        hook.remove()
    assert len(at_step) == 1 and is_clean(steering.painter)
    _press(opened, "Stop")
    opened.page.get_by_text("Nothing is being drawn").wait_for()
    _press(opened, "Draw before and after")
    opened.page.get_by_text(_DRAWN).wait_for()


def test_a_seed_is_kept_or_drawn_anew(visit, steering):
    from playwright.sync_api import expect

    opened = visit(steering.address)
    opened.page.get_by_role("button", name="Seed and window of steps").click()
    seed = opened.page.get_by_label("Seed of the noise")
    opened.page.get_by_label("Keep the seed").uncheck()
    _press(opened, "Draw before and after")
    opened.page.get_by_text(_DRAWN).wait_for()
    expect(seed).not_to_have_value("0")
    drawn = seed.input_value()
    opened.page.get_by_label("Keep the seed").check()
    _press(opened, "Draw before and after")
    opened.page.get_by_text(f"Drawn with seed {drawn} ").wait_for()


def test_latents_are_stacked_and_a_search_follows(visit, steering, screenshots):
    from playwright.sync_api import expect

    opened = visit(steering.address, 420)
    opened.page.get_by_role("button", name="Stack single latents").click()
    opened.page.get_by_label("Latents that fire on a caption").fill("dusk")
    _press(opened, "Find latents")
    box = opened.page.get_by_role("checkbox", name=re.compile("#")).first
    box.check()
    expect(
        opened.page.get_by_role("slider", name=re.compile("typical activations"))
    ).to_be_visible()
    opened.page.get_by_role("tab", name="Search a gallery").click()
    _press(opened, "Search")
    opened.page.get_by_role("heading", name="Edited").wait_for()
    expect(opened.page.get_by_role("button", name="Download the search's")).to_be_enabled()
    opened.page.screenshot(path=screenshots / "steering-search-420.png", full_page=True)


def test_a_card_becomes_the_reference(visit, steering):
    from playwright.sync_api import expect

    opened = visit(steering.address)
    shown = opened.page.get_by_alt_text("Reference", exact=True)
    first = shown.get_attribute("src")
    assert first is not None
    opened.page.get_by_role("button", name="Thumbnail 4").click()
    expect(shown).not_to_have_attribute("src", first)
    second = shown.get_attribute("src") or ""
    opened.page.get_by_role("button", name="Draw a reference by hand").click()
    _press(opened, "Draw a FactorWorld card")
    expect(shown).not_to_have_attribute("src", second)


def test_a_fault_is_a_sentence_in_the_page(visit, steering):
    opened = visit(steering.address)
    opened.page.get_by_label("Prompt").fill(" ")
    _press(opened, "Draw before and after")
    opened.page.get_by_role("status").get_by_text("The prompt is empty").wait_for()
    opened.page.get_by_text("Nothing new was drawn.").wait_for()


def test_without_a_generator_or_a_classifier_the_rest_is_there(
    visit, serve, small_sae, steering, monkeypatch
):
    def missing(*_):
        raise UserError("The weights are missing.")

    monkeypatch.setattr(reading, "load_classifier", missing)
    panel = reading.PictureReading().panel("", *[steering.painter.paint("a cup", 0)] * 2)
    assert "Nothing reads the pictures: The weights are missing." in panel
    monkeypatch.setattr("mm_sae_plugin.factorworld.generator.load_generator", missing)
    opened = visit(serve(DEMOS["steering"].build(DemoOptions(small_sae))))
    opened.page.get_by_text("Nothing can be drawn here. The weights are missing.").wait_for()
    opened.page.get_by_role("tab", name="Search a gallery").click()
    _press(opened, "Search")
    opened.page.get_by_role("heading", name="Edited").wait_for()


def test_a_folder_without_the_parts_is_told_at_the_start(small_sae, tmp_path):
    with pytest.raises(UserError, match="There is no pipeline in"):
        DEMOS["steering"].build(DemoOptions(small_sae, pipeline=str(tmp_path)))
