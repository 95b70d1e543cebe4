"""The steering page in a browser: whose turn it is, what a stop ends, and what is out of date."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("diffusers")

from tests.demos.test_steering_page import is_clean

_DRAWN = re.compile(r"Drawn with seed \d+")
_DRAW = "Draw before and after"
_STALE = "The pictures show an earlier prompt, seed or edit"


@contextmanager
def held(painter, at_call: int = 1) -> Iterator[tuple[threading.Event, threading.Event, list]]:
    """Hold the denoiser at a call; yields that it is there, what lets it go, and its calls."""
    there, gate, calls = threading.Event(), threading.Event(), []

    def wait(*_):
        calls.append(1)
        if len(calls) == at_call:
            there.set()
            gate.wait(30)

    hook = painter.denoiser.register_forward_hook(wait)
    try:
        yield there, gate, calls
    finally:
        gate.set()
        hook.remove()


def press(opened, name: str) -> None:
    opened.page.get_by_role("button", name=name, exact=True).click()


def says(opened, what) -> None:
    opened.page.get_by_text(what).wait_for()


def slide(opened, key: str = "ArrowLeft") -> None:
    opened.page.get_by_role("slider", name=re.compile("CrossD")).focus()
    opened.page.keyboard.press(key)


def test_who_waits_is_told_and_can_stop(visit, steering):
    first, second = visit(steering.address), visit(steering.address)
    with held(steering.painter) as (there, gate, _):
        press(first, _DRAW)
        assert there.wait(20)
        press(second, _DRAW)
        says(second, "Waiting for another drawing")
        press(second, "Stop")
        says(second, "Stopped before its first step")
        gate.set()
        says(first, _DRAWN)
    assert is_clean(steering.painter)


def test_the_newest_of_two_drawings_counts(visit, steering):
    opened = visit(steering.address)
    with held(steering.painter) as (there, gate, calls):
        press(opened, _DRAW)
        assert there.wait(20)
        opened.page.get_by_label("Prompt").fill("one blue cup")
        press(opened, _DRAW)
        says(opened, "Waiting for another drawing")
        gate.set()
        says(opened, _DRAWN)
        opened.page.get_by_alt_text("Drawn of “one blue cup” with the edit").wait_for()
        # The older one ended where it was.
        n_steps = steering.painter.n_decoder_steps
        assert len(calls) == 1 + 2 * n_steps
    assert is_clean(steering.painter)


def test_a_change_that_changes_nothing_lets_a_drawing_go_on(visit, steering):
    opened = visit(steering.address)
    with held(steering.painter) as (there, gate, calls):
        press(opened, _DRAW)
        assert there.wait(20)
        # As the fields do by themselves when a slow page first fills them.
        with opened.page.expect_response("**/queue/join*"):
            opened.page.get_by_role("slider", name=re.compile("CrossD")).dispatch_event("input")
        opened.page.wait_for_timeout(1000)
        gate.set()
        says(opened, _DRAWN)
        assert len(calls) == 2 * steering.painter.n_decoder_steps
    assert is_clean(steering.painter)


def test_a_stop_ends_changes_that_wait_too(visit, steering):
    opened = visit(steering.address)
    press(opened, _DRAW)
    says(opened, _DRAWN)
    with held(steering.painter) as (there, gate, calls):
        slide(opened)
        assert there.wait(20)
        # It waits until the page has its answer to the first.
        slide(opened)
        press(opened, "Stop")
        says(opened, "Stopping …")
        gate.set()
        says(opened, _STALE)
        assert len(calls) == 1
    press(opened, _DRAW)
    says(opened, _DRAWN)


def test_a_stop_leaves_nothing_of_another_picture(visit, steering):
    from playwright.sync_api import expect

    opened = visit(steering.address)
    download = opened.page.get_by_role("button", name="Download the manifest")
    press(opened, _DRAW)
    says(opened, "things that the prompt asks for")
    expect(download).to_be_enabled()
    opened.page.get_by_label("Prompt").fill("one blue cup")
    with held(steering.painter, 1 + steering.painter.n_decoder_steps) as (there, gate, _):
        press(opened, _DRAW)
        assert there.wait(20)
        press(opened, "Stop")
        gate.set()
        says(opened, re.compile(r"^Stopped at step \d+ of 24\.$"))
    opened.page.get_by_alt_text("Drawn of “one blue cup” as it is").wait_for()
    expect(opened.page.get_by_text("things that the prompt asks for")).to_have_count(0)
    expect(download).to_be_disabled()
    # With the edit alone stopped, what is shown belongs together, and is older.
    press(opened, _DRAW)
    says(opened, _DRAWN)
    with held(steering.painter) as (there, gate, _):
        slide(opened)
        assert there.wait(20)
        press(opened, "Stop")
        gate.set()
        says(opened, "What is shown is of the drawing before.")
    expect(download).to_be_enabled()


def test_another_reference_and_a_stacked_latent_draw_again(visit, steering):
    from playwright.sync_api import expect

    opened = visit(steering.address)
    press(opened, _DRAW)
    says(opened, _DRAWN)
    moved = opened.page.locator(".st-part b").first
    expect(moved).to_be_visible()
    before = moved.inner_text()
    opened.page.get_by_role("button", name="Thumbnail 4").click()
    expect(moved).not_to_have_text(before)
    before = moved.inner_text()
    opened.page.get_by_role("button", name="Stack single latents").click()
    opened.page.get_by_label("Latents that fire on a caption").fill("two red cars")
    press(opened, "Find latents")
    opened.page.get_by_role("checkbox", name=re.compile("#")).first.check()
    expect(moved).not_to_have_text(before)


def test_what_is_out_of_date_is_marked(visit, steering):
    opened = visit(steering.address)
    press(opened, _DRAW)
    says(opened, _DRAWN)
    opened.page.get_by_label("Draw again whenever").uncheck()
    opened.page.get_by_role("button", name="Thumbnail 4").click()
    says(opened, _STALE)
    opened.page.get_by_role("button", name="Thumbnail 1").click()
    says(opened, _DRAWN)
    prompt = opened.page.get_by_label("Prompt")
    prompt.fill("one blue cup")
    prompt.blur()
    says(opened, _STALE)
    opened.page.get_by_role("tab", name="Search a gallery").click()
    press(opened, "Search")
    opened.page.get_by_role("heading", name="Edited").wait_for()
    slide(opened)
    says(opened, "What was found is of an earlier search or edit")


def test_an_example_is_drawn_at_a_click(visit, steering):
    from playwright.sync_api import expect

    opened = visit(steering.address)
    # Nothing grey stands for pictures that are not there yet.
    assert opened.page.locator(".st-empty").count() == 0
    # The small SAE has no latents of images.
    expect(opened.page.get_by_role("button", name="Image only")).to_have_count(0)
    press(opened, "Cross-modal only")
    says(opened, _DRAWN)
    opened.page.wait_for_url("**card=3*")


def test_on_a_narrow_screen_the_edit_comes_before_the_tables(visit, steering):
    opened = visit(steering.address, 420)
    press(opened, _DRAW)
    says(opened, "things that the prompt asks for")
    tops = [
        opened.page.get_by_role("heading", name=name, exact=True).bounding_box()["y"]
        for name in ("The edit", "What the edit moved")
    ]
    picture = opened.page.get_by_alt_text("as it is").bounding_box()
    assert picture["y"] < tops[0] < tops[1]
    ends = [
        box.bounding_box()["x"] + box.bounding_box()["width"]
        for box in opened.page.locator(":is(.st-stack > *, .st-table):visible").all()
    ]
    assert opened.page.get_by_text("Try this:").bounding_box()["height"] < 30
    assert max(ends) <= 420 - picture["x"] + 1


def test_the_same_fault_is_shown_once(visit, steering):
    from playwright.sync_api import expect

    opened = visit(steering.address)
    opened.page.get_by_label("Prompt").fill(" ")
    toasts = opened.page.get_by_text("The prompt is empty: say what to draw.")
    for n_told in (1, 2):
        press(opened, _DRAW)
        expect(toasts).to_have_count(n_told)
        expect(toasts.locator("visible=true")).to_have_count(1)
