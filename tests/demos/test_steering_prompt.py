"""What is said of a prompt's words, and of what is no prompt, seed or preset at all."""

import json
import re

import pytest

from mm_sae_plugin.demos.common.presets import uploaded_preset
from mm_sae_plugin.demos.common.typed import filled, whole, whole_number
from mm_sae_plugin.demos.steering.prompt import left_out
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.architecture import build_tokenizer
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study import Study


def test_unknown_words_are_named_each_once():
    tokenizer = build_tokenizer()
    assert left_out(tokenizer, "Two big red cars at night") == ""
    said = left_out(tokenizer, "an elephant meets an Elephant near the sea")
    assert "not “an”, “elephant”, “meets”, “the”, “sea”." in said
    assert "and 2 more." in left_out(tokenizer, "v w xa ya za zb zc")
    assert left_out(tokenizer, "\N{ELEPHANT}") == "No word of it is read."
    assert left_out(None, "elephant") == ""


def test_what_is_cut_is_what_no_token_holds():
    tokenizer = build_tokenizer()
    words = ["red"] * 28
    assert left_out(tokenizer, " ".join(words)) == ""
    longer = " ".join([*words, "blue", "elephant"])
    assert left_out(tokenizer, longer) == (
        "Only the first 28 words are read: “blue” and what follows is cut."
    )
    # The tokens say the same.
    assert (tokenizer(longer) == tokenizer(" ".join(words))).all()


def test_the_page_says_it(visit, steering):
    pytest.importorskip("diffusers")
    opened = visit(steering.address)
    opened.page.get_by_label("Prompt").fill("two red elephants")
    opened.page.get_by_role("button", name="Draw before and after").click()
    opened.page.get_by_text(re.compile("Drawn with seed.*not “elephants”")).wait_for()
    opened.page.get_by_role("tab", name="Search a gallery").click()
    opened.page.get_by_label("Search for").fill("red elephants")
    opened.page.get_by_role("button", name="Search", exact=True).click()
    opened.page.get_by_text("not “elephants”").locator("visible=true").wait_for()


def test_what_scripts_send_is_checked_as_well():
    for value in (None, " ", 3):
        with pytest.raises(UserError, match=r"The prompt is empty: say what to draw\."):
            filled("The prompt", value, "say what to draw")
    for value in (None, "abc", float("nan"), 1.5, True, -1, 8):
        with pytest.raises(UserError, match="The seed must be a whole number, 0 to 7, and is"):
            whole("The seed", value, 0, 7)
    assert whole("The seed", 7.0, 0, 7) == 7
    assert whole_number("2147483647") is None
    assert whole_number("2147483647", 15) == 2147483647


def test_the_endpoints_answer_with_sentences(steering):
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(steering.address, verbose=False)
    edit = (None, 0, 0, 0, "", None, *[1.0] * 6)
    for prompt, seed, message in (
        (None, 0, "The prompt is empty"),
        ("a cup", "abc", "The seed must be a whole number"),
        ("a cup", None, "The seed must be a whole number"),
    ):
        with pytest.raises(Exception, match=message):
            client.predict(prompt, seed, True, 0, 12, *edit, api_name="/draw")
        with pytest.raises(Exception, match=message):
            client.predict(prompt, seed, 0, 12, *edit, api_name="/sweep")
    with pytest.raises(Exception, match="The search is empty"):
        client.predict(None, *edit, api_name="/rerank")
    with pytest.raises(Exception, match="The search for latents is empty"):
        client.predict(None, api_name="/find_latents")
    with pytest.raises(Exception, match="The card number must be a whole number"):
        client.predict("abc", "any", *["any"] * 11, api_name="/card")
    client.close()


def test_presets_that_no_page_can_carry_out(small_sae, tmp_path):
    study = Study.open(small_sae)
    path = tmp_path / "edit.json"
    path.write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"edit\.json is no preset"):
        uploaded_preset(str(path), study)
    step = FeatureEdit.add(study, 1.0, latents=[study.labels.latents("CrossD")[0]])
    content = step.to_dict()
    content["steps"] = content["steps"] * 201
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="has 201 steps, more than the 200"):
        uploaded_preset(str(path), study)
    content["steps"] = content["steps"][:200]
    path.write_text(json.dumps(content))
    given = uploaded_preset(str(path), study)
    assert given is not None and len(given.steps) == 200
