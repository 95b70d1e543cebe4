"""The address of a page keeps to what was chosen, whatever answer comes late."""

import json
from collections.abc import Iterator
from typing import Any

import pytest


class Late:
    """A page of which some requests reach the server only when the test says so."""

    def __init__(self, page: Any, part: str | None) -> None:
        page.set_default_timeout(60_000)
        self.page, self._part, self._held = page, part, []
        page.route("**/gradio_api/run/**", self._ask)

    def _ask(self, route: Any) -> None:
        fields = json.loads(route.request.post_data)["data"]
        is_first_without = self._part is None and not fields and not self._held
        if self._part in fields or is_first_without:
            self._held.append(route)
        else:
            route.continue_()

    def let_through(self) -> None:
        """Let all go that was held, and wait until the page has had the answers."""
        assert self._held
        for route in self._held:
            with self.page.expect_response(route.request.url):
                route.continue_()
        self.page.wait_for_timeout(500)


@pytest.fixture
def late(browser) -> Iterator[Any]:
    """Make such pages."""
    contexts = []

    def opened(part: str | None) -> Late:
        """What says what stands in a part of the page is late; or the first that says nothing."""
        contexts.append(browser.new_context())
        return Late(contexts[-1].new_page(), part)

    yield opened
    for context in contexts:
        context.close()


def test_what_a_page_opens_with_is_not_written_over_what_was_asked(late, bias, defense):
    toggled, evaluated = late("audit"), late("attack")
    toggled.page.goto(f"{bias.address}/?tab=toggle&latents=5")
    toggled.page.get_by_text("1 latent of factorworld-biased taken out").wait_for()
    evaluated.page.goto(f"{defense.address}/?tab=evaluation&eps=6")
    evaluated.page.get_by_role("tab", name="The evaluation", selected=True).wait_for()
    for one, kept in ((toggled, ("tab=toggle", "latents=5")), (evaluated, ("eps=6",))):
        one.page.wait_for_url("**tab=*")
        one.let_through()
        assert all(what in one.page.url for what in kept), one.page.url


def test_an_answer_that_was_overtaken_is_not_written(late, bias, defense):
    for demo, parts in (
        (bias, {"attribution": "Attribution", "twins": "Twins"}),
        (defense, {"evaluation": "The evaluation", "attack": "Attack a picture"}),
    ):
        (first, first_name), (second, second_name) = parts.items()
        opened = late(first)
        opened.page.goto(f"{demo.address}/?tab={second}&other=1")
        opened.page.get_by_role("tab", name=second_name, selected=True).wait_for()
        # Written once: what the page opened with holds more than it was asked.
        opened.page.wait_for_url("**other=1&*")
        opened.page.get_by_role("tab", name=first_name).click()
        opened.page.get_by_role("tab", name=second_name).click()
        opened.page.wait_for_timeout(500)
        written = opened.page.url
        opened.let_through()
        assert opened.page.url == written
        assert f"tab={first}" not in written


def test_what_a_slider_makes_of_a_number_is_written(visit, defense):
    page = visit(f"{defense.address}/?eps=3").page
    page.wait_for_url("**truth=*")
    for typed, kept in (("-5", "0"), ("999", "16")):
        page.get_by_label("number input for ε").fill(typed)
        page.keyboard.press("Tab")
        page.wait_for_url(f"**eps={kept}*")


def test_a_field_that_cannot_be_keeps_no_other_out_of_the_address(visit, bias, defense):
    page = visit(f"{defense.address}/?eps=3").page
    page.wait_for_url("**truth=*")
    page.get_by_label("number input for ε").fill("2.5")
    page.get_by_label("Seed of the start").fill("7")
    page.wait_for_url("**seed=7*")
    assert "eps" not in page.url
    page = visit(f"{bias.address}/?tab=toggle").page
    page.wait_for_url("**model=*")
    page.get_by_label("Other latents to take out").fill("999")
    page.get_by_role("tab", name="Twins").click()
    page.wait_for_url("**tab=twins*")


def test_a_change_during_another_is_written(late, defense):
    opened = late(None)
    page = opened.page
    page.goto(f"{defense.address}/?eps=3")
    page.wait_for_url("**truth=*")
    page.get_by_label("number input for Steps").fill("7")
    page.get_by_label("Seed of the start").fill("5")
    page.wait_for_url("**seed=5*")
    opened.let_through()
    assert "steps=7" in page.url and "seed=5" in page.url
