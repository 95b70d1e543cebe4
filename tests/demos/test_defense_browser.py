"""The defense page in a browser: keys, a stop, what is out of date, and the evaluation."""

import re
import threading
import urllib.parse

import pytest

_BUTTON = "Attack the picture"
_DONE = re.compile(r"^Attacked in [\d.]+ s, and through all \d defenses in [\d.]+ s\.$")


def _press(opened, name: str) -> None:
    opened.page.get_by_role("button", name=name, exact=True).click()


def _says(opened, what) -> None:
    opened.page.get_by_text(what).first.wait_for()


def _open(visit, defense, query: str, *given, **settings):
    opened = visit(f"{defense.address}/?{query}", *given, **settings)
    # It is written anew once the page holds what it asks for.
    opened.page.wait_for_url(f"**truth=*{query}*")
    return opened


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_is_attacked_by_keys_alone(visit, defense, screenshots, width, scheme):
    from playwright.sync_api import expect

    opened = _open(visit, defense, "steps=3", width, color_scheme=scheme)
    opened.page.get_by_label("Seed of the start").focus()
    opened.tab_to(_BUTTON)
    opened.page.keyboard.press("Enter")
    _says(opened, _DONE)
    page = opened.page
    expect(page.get_by_alt_text("attacked, made without knowing the defense")).to_have_count(1)
    expect(page.get_by_alt_text("attacked, made through robust tower")).to_have_count(1)
    expect(page.get_by_role("img", name="Scores with robust tower")).to_be_visible()
    expect(page.get_by_role("button", name="Download the manifest")).to_be_enabled()
    assert page.evaluate("[...document.images].filter((p) => !p.alt).length") == 0
    shots = screenshots / f"defense-{width}-{scheme}"
    page.screenshot(path=f"{shots}-attack.png", full_page=True)
    page.get_by_role("tab", name="The evaluation").click()
    expect(page.get_by_role("img", name="Accuracy of FARE")).to_be_visible()
    page.wait_for_url("**tab=evaluation*")
    page.screenshot(path=f"{shots}-evaluation.png", full_page=True)


def test_an_attack_is_stopped_in_its_middle(visit, defense):
    opened = _open(visit, defense, "steps=9")
    there, gate, calls = threading.Event(), threading.Event(), []

    def wait(*_):
        calls.append(1)
        if len(calls) == 4:
            there.set()
            gate.wait(30)

    (encoder,) = [one for one in defense.subject.found if one.name == "reconstruction"]
    hook = encoder.model.hook_dict["vision.hook_proj"].register_forward_hook(wait)
    try:
        _press(opened, _BUTTON)
        assert there.wait(30)
        _says(opened, "Attacking through reconstruction: step")
        _press(opened, "Stop")
        _says(opened, "Stopping …")
        gate.set()
        _says(opened, re.compile(r"^Stopped at step \d of 9 of reconstruction\. What it found"))
    finally:
        gate.set()
        hook.remove()
    _says(opened, "not attacked yet")
    _press(opened, "Stop")
    _says(opened, "Nothing is being attacked.")


def test_what_is_out_of_date_is_said_to_be(visit, defense):
    opened = _open(visit, defense, "steps=2")
    _press(opened, _BUTTON)
    _says(opened, _DONE)
    slider = opened.page.get_by_role("slider", name=re.compile("ε"))
    slider.focus()
    opened.page.keyboard.press("ArrowRight")
    _says(opened, "What is shown is of earlier settings")
    opened.page.wait_for_url("**eps=5*")
    opened.page.keyboard.press("ArrowLeft")
    _says(opened, _DONE)


def test_another_task_brings_its_pictures_and_classes(visit, defense):
    from playwright.sync_api import expect

    opened = _open(visit, defense, "")
    opened.page.get_by_role("radio", name="colour", exact=True).check()
    labels = defense.subject.tasks["colour"].task.labels
    opened.page.wait_for_url(f"**task=colour*truth={labels[0]}*")
    opened.page.get_by_role("button", name="Thumbnail 3").click()
    opened.page.wait_for_url(f"**card=3*truth={labels[2]}*")
    toward = opened.page.get_by_label("Toward: a class, or any text")
    expect(toward).to_be_hidden()
    opened.page.get_by_role("radio", name="PGD toward a class or text").check()
    expect(toward).to_be_visible()
    opened.page.wait_for_url("**toward=*")


def test_an_address_sets_the_page(visit, defense):
    from playwright.sync_api import expect

    asked = {"task": "occupation", "card": 2, "attack": "toward", "toward": "a chef", "eps": 6}
    opened = visit(f"{defense.address}/?{urllib.parse.urlencode(asked)}")
    opened.page.wait_for_url("**task=occupation*truth=*eps=6*")
    expect(opened.page.get_by_role("radio", name="occupation")).to_be_checked()
    expect(opened.page.get_by_label("Toward: a class, or any text")).to_have_value("a chef")
    expect(opened.page.get_by_role("slider", name=re.compile("ε"))).to_have_value("6")
    opened = visit(f"{defense.address}/?eps=99&defense=hope&card=own")
    _says(opened, "What the address gives for defense and eps cannot be")
    _says(opened, "The address does not hold your picture: choose it again.")


def test_a_fault_is_a_sentence_in_the_page(visit, defense):
    opened = visit(f"{defense.address}/?card=own")
    _says(opened, "choose it again")
    _press(opened, _BUTTON)
    _says(opened, "Choose a picture first.")
    _says(opened, "Nothing was attacked.")
