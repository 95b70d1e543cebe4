"""What the address of the defense page holds, and what it says where it does not."""

import urllib.parse

import pytest

from mm_sae_plugin.demos.defense.address import OWN, READ, Asked, query_of, read, usual


def _params(query: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(query))


def test_what_was_chosen_comes_back(defense):
    subject = defense.subject
    asked = Asked(
        "reconstruction",
        "evaluation",
        "colour",
        3,
        subject.tasks["colour"].names[0],
        "toward",
        "two red cars",
        7,
        30,
        5,
    )
    assert read(_params(query_of(asked, subject)), subject) == (asked, [])
    own = Asked("none", card=OWN, truth=READ)
    assert read(_params(query_of(own, subject)), subject) == (own, [])


def test_it_opens_on_the_shipped_defense(defense):
    asked, wrong = read({}, defense.subject)
    assert asked == usual(defense.subject) and not wrong
    assert asked.defense == "factorworld-robust" and (asked.eps, asked.steps) == (4, 20)
    assert asked.truth == defense.subject.tasks["object"].task.labels[0]
    # Another card shows something else.
    assert (
        read({"card": "2"}, defense.subject)[0].truth
        == (defense.subject.tasks["object"].task.labels[1])
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tab", "other"),
        ("task", "mood"),
        ("card", "7"),
        ("card", "0"),
        ("truth", "king"),
        ("attack", "other"),
        ("toward", "x" * 201),
        ("eps", "17"),
        ("eps", "2.5"),
        ("steps", "0"),
        ("seed", "-1"),
        ("defense", "hope"),
    ],
)
def test_what_cannot_be_is_named(defense, key, value):
    assert read({key: value}, defense.subject) == (usual(defense.subject), [key])
