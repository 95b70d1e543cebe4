"""What the address of the bias page holds, and what it says where it does not."""

import urllib.parse

import pytest

from mm_sae_plugin.demos.bias.address import Asked, query_of, read


def _params(query: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(query))


def test_what_was_chosen_comes_back(bias):
    classes = [name for name in ("ImgD", "CrossD") if _has(bias, name)][:1]
    asked = Asked(
        "factorworld",
        "toggle",
        "skin:light/dark",
        "the paper's",
        "3,9",
        tuple(classes),
        (5, 7),
        "text",
        "pilot",
        2,
    )
    assert read(_params(query_of(asked)), bias.subjects) == (asked, [])
    plain = Asked("factorworld")
    assert _params(query_of(plain)) == {"model": "factorworld"}


def test_it_opens_on_the_model_beside(bias):
    assert read({}, bias.subjects) == (Asked("factorworld-biased"), [])


def _has(bias, name: str) -> bool:
    return bool(bias.subjects[0].study.labels.class_counts[name])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tab", "other"),
        ("flip", "gender"),
        ("model", "another"),
        ("by", "none"),
        ("show", "64"),
        ("classes", "Dead"),
        ("latents", "x"),
        ("side", "left"),
        ("occupation", "king"),
        ("pair", "5"),
        ("pair", "0"),
    ],
)
def test_what_cannot_be_is_named(bias, key, value):
    assert read({key: value}, bias.subjects) == (Asked("factorworld-biased"), [key])


def test_an_address_sets_the_page(visit, bias):
    from playwright.sync_api import expect

    query = {"tab": "twins", "flip": "age:young/old", "occupation": "pilot", "pair": 3}
    opened = visit(f"{bias.address}/?{urllib.parse.urlencode(query)}")
    opened.page.get_by_role("heading", name="pilot, pair 3").wait_for()
    expect(opened.page.get_by_alt_text("A drawn pilot: young")).to_be_visible()
    opened.page.get_by_role("tab", name="Audit").click()
    opened.page.get_by_text("only the age differs").wait_for()
    opened = visit(f"{bias.address}/?pair=99&latents=many")
    opened.page.get_by_text("What the address gives for pair and latents cannot be").wait_for()
