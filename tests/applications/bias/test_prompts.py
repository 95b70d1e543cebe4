"""Prompt sets: read, written, and refused."""

import json

import pytest

from mm_sae_plugin.applications.bias.prompts import (
    DEFAULT_TEMPLATES,
    PromptSet,
    default_prompts,
    factorworld_prompts,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.architecture import build_tokenizer
from mm_sae_plugin.factorworld.factors import WOMAN_GIVEN_OCCUPATION

TWO = {
    "templates": ["a photo of a {}", "a {} at work"],
    "targets": {"nurse": ["nurse", "hospital nurse"], "builder": ["builder"]},
    "direction": {"nurse": "woman", "builder": "man"},
}


def test_every_word_stands_in_every_template():
    assert PromptSet.from_dict(TWO).prompts == {
        "nurse": [
            "a photo of a nurse",
            "a photo of a hospital nurse",
            "a nurse at work",
            "a hospital nurse at work",
        ],
        "builder": ["a photo of a builder", "a builder at work"],
    }


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_what_is_written_is_what_is_read(tmp_path, suffix):
    prompts = PromptSet.from_dict(TWO)
    path = tmp_path / f"prompts.{suffix}"
    path.write_text(json.dumps(prompts.to_dict()))
    assert PromptSet.load(path) == prompts
    plain = PromptSet.from_dict({"targets": ["nurse", "builder"]})
    assert plain == default_prompts(["nurse", "builder"])
    assert plain.templates == DEFAULT_TEMPLATES
    assert "direction" not in plain.to_dict()
    assert PromptSet.from_dict(plain.to_dict()) == plain


def test_yaml_of_the_documented_form(tmp_path):
    path = tmp_path / "prompts.yaml"
    path.write_text(
        'templates: ["a photo of a {}", "a {} at work"]\n'
        "targets: {nurse: [nurse, hospital nurse], builder: builder}\n"
        "direction: {nurse: woman, builder: man}\n"
    )
    assert PromptSet.load(path) == PromptSet.from_dict(TWO)


def test_signs_are_those_of_the_first_group():
    prompts = PromptSet.from_dict(TWO)
    assert prompts.signs("woman") == {"nurse": 1, "builder": -1}
    assert prompts.signs("man") == {"nurse": -1, "builder": 1}
    assert default_prompts(["nurse"]).signs("woman") == {}
    with pytest.raises(UserError, match="names man, woman, and the audit the group 'Female'"):
        prompts.signs("Female")
    for direction in ({"nurse": "woman"}, {"nurse": "woman", "builder": "men", "cook": "man"}):
        slip = PromptSet.from_dict({"targets": list(direction), "direction": direction})
        with pytest.raises(UserError, match="exactly two groups"):
            slip.signs("woman")


def test_some_targets_only():
    only = PromptSet.from_dict(TWO).of_targets(["builder"])
    assert list(only.prompts) == ["builder"]
    assert only.direction == {"builder": "man"}
    with pytest.raises(UserError, match="target 'pilot', for which the prompts have no words"):
        PromptSet.from_dict(TWO).of_targets(["builder", "pilot"])


def test_prompts_of_the_world_state_what_was_planted():
    tokenizer = build_tokenizer()
    prompts = factorworld_prompts()
    signs = prompts.signs("woman")
    assert signs == {name: 1 if p > 0.5 else -1 for name, p in WOMAN_GIVEN_OCCUPATION.items()}
    assert sorted(signs.values()) == [-1] * 4 + [1] * 4
    said = [text for texts in prompts.prompts.values() for text in texts]
    # Two ages, eight colours, three places.
    assert len(prompts.templates) == 48
    assert len(set(said)) == len(said) == 48 * 8
    unknown = {word for text in said for word in tokenizer.unknown_words(text)}
    assert unknown == {"person"}
    assert not any(word in text.split() for text in said for word in ("woman", "man"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Prompts are a mapping with templates, targets, direction, groups, not None"),
        ([], "not a list"),
        ({"targets": {}}, "have no targets"),
        ({"targets": []}, "have no targets"),
        ({}, "need targets"),
        ({"targets": [["a", "b"]]}, "'targets' holds .'a', 'b'., which is a list and not a text"),
        ({"targets": {"nurse": []}}, "'nurse' has an empty prompt"),
        ({"targets": {"nurse": ["nurse", "  "]}}, "'nurse' has an empty prompt"),
        ({"targets": {"nurse": 3}}, "'nurse' must be a text or a list of texts, not an int"),
        ({"targets": ["nurse"], "templates": []}, "no prompt template"),
        ({"targets": ["nurse"], "templates": ["a nurse"]}, "'a nurse' needs exactly one {}"),
        ({"targets": ["nurse"], "templates": ["{} {}"]}, "needs exactly one {}"),
        ({"targets": ["nurse"], "direction": {"pilot": "man"}}, "'pilot', which is no target"),
        ({"targets": ["nurse"], "direction": ["man"]}, "maps targets to the groups .* a list"),
        (
            {"targets": ["nurse"], "groups": ["man"]},
            "maps each group to sentences; .* list",
        ),
        ({"targets": ["nurse"], "groups": {"man": [" "]}}, "'man' has an empty sentence"),
        ({"targets": ["nurse"], "words": 1}, "Prompts have no 'words'"),
    ],
)
def test_what_is_no_prompt_set_gets_a_sentence(content, said):
    with pytest.raises(UserError, match=said) as caught:
        PromptSet.from_dict(content)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml cannot be read"):
        PromptSet.load(tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("templates: [a photo of a {}\ntargets: {")
    with pytest.raises(UserError, match=r"broken\.yaml are no YAML .*: mend the file") as caught:
        PromptSet.load(path)
    assert "\n" not in str(caught.value)
    path.write_text("targets: {}")
    with pytest.raises(UserError, match=r"^In .*broken\.yaml: The prompts have no targets"):
        PromptSet.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        PromptSet.load(path)
