"""The defense page through its endpoints: what it shows is what the library computes."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mm_sae_plugin.applications.defense.one_picture import (
    PictureAttack,
    as_picture,
    attack_picture,
)
from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.common.manifest import picture_hash
from mm_sae_plugin.demos.defense.address import READ
from mm_sae_plugin.demos.defense.showing import attacked
from mm_sae_plugin.errors import UserError

FIELDS = {
    "tab": "attack",
    "task": "object",
    "picture": None,
    "truth": READ,
    "attack": "PGD",
    "toward": None,
    "eps": 8,
    "steps": 4,
    "seed": 3,
    "defense": "reconstruction",
}


@pytest.fixture(scope="module")
def client(defense):
    from gradio_client import Client

    client = Client(defense.address, verbose=False)
    yield client
    client.close()


def ask(client, demo, /, **changed):
    from gradio_client import handle_file

    assert changed.keys() <= FIELDS.keys()
    given = FIELDS | {"picture": demo.subject.tasks["object"].cards[0]} | changed
    if given["picture"] is not None:
        given["picture"] = handle_file(given["picture"])
    return client.predict(*given.values(), api_name="/attack")


def outcomes(defense, attack, first="reconstruction", truth=None):
    posed = defense.subject.tasks["object"]
    picture = posed.task.pictures[0]
    return list(attack_picture(defense.subject.found, posed.classes, picture, attack, truth, first))


def test_it_shows_what_the_library_finds(client, defense):
    shown, status, moved, image, manifest = ask(client, defense)
    *_, last = outcomes(defense, PictureAttack("PGD", 8 / 255, 4, seed=3))
    names = defense.subject.tasks["object"].names
    assert shown == attacked(defense.subject, last, names, "reconstruction", 8, None)
    assert shown.count("data:image/png;base64,") == 5 and "not attacked yet" not in shown
    assert status.count("through all ") == 1
    assert "Which latents moved" in moved and "(the sum of |Δ| of their activations)" in moved
    for name in ("no defense", "defense, static", "defense, adaptive"):
        assert f"{name} " in moved
    kept = Image.open(image["value"])
    adaptive = as_picture(last.adaptive["reconstruction"])
    assert kept.tobytes() == adaptive.tobytes() and kept.size == (48, 48)
    told = json.loads(Path(manifest["value"]).read_text())
    assert told["seed"] == 3 and told["sae"]["sae_id"] == defense.subject.study.sae_id
    assert told["model"]["weights_id"] == defense.subject.model.weights_id
    asked = told["asked"]
    assert asked["adaptive_sha256"] == picture_hash(adaptive) != asked["static_sha256"]
    assert asked["truth"] == names[last.truth] and (asked["eps"], asked["steps"]) == (8, 4)
    assert [one["name"] for one in asked["defenses"]] == defense.subject.names


def test_a_text_becomes_a_class_of_its_own(client, defense):
    shown, *_ = ask(client, defense, attack="toward", toward=" two red <b>fish ", eps=16)
    assert "The attack leads towards “two red &lt;b&gt;fish”" in shown
    shown, *_ = ask(client, defense, attack="toward", toward="kite", defense="none")
    assert "towards “kite”: through no defense" in shown and shown.count("<img") == 3
    # Without a defense nothing was made without knowing one.
    assert "static evaluation" not in shown


def test_without_an_sae_it_says_so(monkeypatch, tmp_path):
    from mm_sae_plugin.demos.defense.evaluating import evaluated
    from mm_sae_plugin.demos.defense.moving import moved as moved_of
    from mm_sae_plugin.demos.defense.subject import open_subject

    subject = open_subject(tmp_path / "gone")
    assert subject.names == ["none", "factorworld-robust"] and subject.study is None
    posed = subject.tasks["object"]
    attack = PictureAttack(n_steps=1)
    *_, last = attack_picture(subject.found, posed.classes, posed.task.pictures[0], attack)
    assert "No labelled SAE is there" in moved_of(subject, {}, last, "factorworld-robust")
    assert "No evaluation was given" in evaluated(None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": None}, "no task None: choose object, occ"),
        ({"truth": "king"}, "no class .*king.*: choose as read, ball"),
        ({"attack": None}, "no attack None: choose PGD"),
        ({"defense": None}, "no defense None: choose none, f"),
        ({"eps": 17}, "ε must be a whole number from 0 to 16, and is 17"),
        ({"eps": 2.5}, "ε must be a whole number from 0 to 16, and is 2.5"),
        ({"eps": None}, "ε must be a finite number, and is empty"),
        ({"steps": 0}, "number of steps must be a whole number from 1 to 100, and is 0"),
        ({"seed": -1}, "The seed must be a whole number"),
        ({"picture": None}, "Choose a picture first"),
        ({"attack": "toward", "toward": " "}, "What the attack leads towards is empty: choose a"),
        ({"attack": "toward", "toward": "x" * 201}, "has 201 characters: give at most 200"),
    ],
)
def test_bad_input_is_a_sentence(client, defense, changed, message):
    with pytest.raises(Exception, match=message):
        ask(client, defense, **changed)


def test_what_is_no_picture_and_a_class_that_it_shows_already_are_sentences(
    client, defense, tmp_path
):
    path = tmp_path / "picture.png"
    path.write_text("no picture")
    with pytest.raises(Exception, match="The picture cannot be used: "):
        ask(client, defense, picture=str(path))
    truth = defense.subject.tasks["object"].task.labels[0]
    with pytest.raises(Exception, match="read as the class that the attack is to lead towards"):
        ask(client, defense, attack="toward", toward=truth, truth=truth)
    assert "Attacked in" in ask(client, defense, steps=1)[1]


def test_a_damaged_evaluation_is_told_at_the_start(small_sae, tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        DEMOS["defense"].build(DemoOptions(small_sae, robustness=tmp_path / "gone.json"))
