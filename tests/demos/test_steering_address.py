"""What the address of the steering page holds, and what it says where it does not."""

import urllib.parse

import pytest

pytest.importorskip("diffusers")

from tests.demos.test_steering_turns import press, says


def _params(url: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def _opened(visit, steering, **asked):
    return visit(f"{steering.address}/?{urllib.parse.urlencode(asked)}")


def test_an_address_brings_a_drawing_back(visit, steering):
    from playwright.sync_api import expect

    asked = {
        "prompt": "one blue cup",
        "seed": "2147483647",
        "from": "3",
        "to": "9",
        "ImgD": "0",
        "TextD": "0",
        "CrossD": "0.5",
        "norm": "0.4",
        "latents": "7:1.5,9:-0.5",
        "card": "4",
    }
    opened = _opened(visit, steering, **asked)
    expect(opened.page.get_by_label("Prompt")).to_have_value("one blue cup")
    opened.page.get_by_role("button", name="Stack single latents").click()
    expect(opened.page.get_by_role("checkbox", name="#7 ")).to_be_checked()
    expect(opened.page.get_by_role("slider", name="#9 ")).to_have_value("-0.5")
    press(opened, "Draw before and after")
    says(opened, "Drawn with seed 2147483647 ")
    # The page writes down what it drew, and that is what was asked.
    opened.page.evaluate("window.history.replaceState(null, '', '/?other=1')")
    press(opened, "Draw before and after")
    opened.page.wait_for_url("**card=4*")
    assert _params(opened.page.url) == {**asked, "other": "1"}


def test_a_picture_of_ones_own_is_not_in_it_and_that_is_said(visit, steering):
    opened = visit(steering.address)
    opened.page.get_by_role("button", name="Draw a reference by hand").click()
    shown = opened.page.get_by_alt_text("Reference", exact=True)
    first = shown.get_attribute("src")
    press(opened, "Draw a FactorWorld card")
    opened.page.wait_for_function(
        "(first) => document.querySelector('[alt=Reference]')?.src !== first", arg=first
    )
    press(opened, "Draw before and after")
    opened.page.wait_for_url("**card=own*")
    says(
        visit(opened.page.url), "The address does not hold the reference: choose the picture again."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", " "),
        ("prompt", "a" * 1001),
        ("seed", "1" * 16),
        ("from", "12"),
        ("to", "13"),
        ("CrossD", "7"),
        ("norm", "-1"),
        ("latents", "64:1"),
        ("latents", "5"),
        ("card", "99"),
    ],
)
def test_what_cannot_be_is_said(visit, steering, name, value):
    opened = _opened(visit, steering, **{name: value})
    says(opened, f"What the address gives for {name} cannot be; the page's own is kept.")


def test_no_reference_is_kept_as_well(visit, steering):
    from playwright.sync_api import expect

    opened = _opened(visit, steering, card="none", CrossD="0")
    expect(opened.page.get_by_label("Prompt")).to_be_visible()
    expect(opened.page.get_by_alt_text("Reference", exact=True)).to_have_count(0)
    press(opened, "Draw before and after")
    says(opened, "Drawn with seed 0 ")
    assert _params(opened.page.url)["card"] == "none"
