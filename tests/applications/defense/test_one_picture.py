"""One picture under attack: within its budget as a file keeps it, step by step, and told truly."""

import pytest
import torch

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.contenders import Contender, tower_copy
from mm_sae_plugin.applications.defense.one_picture import (
    ATTACKS,
    PictureAttack,
    as_kept,
    as_picture,
    attack_picture,
    difference_picture,
)
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model

EPS = 8 / 255


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def found(model):
    def turned(rows):
        return rows + 0.3 * rows.flip(1)

    return [
        Contender("none", "undefended", model),
        Contender("plain", "training-free", tower_copy(model), lambda rows: rows),
        Contender("turned", "training-free", tower_copy(model), turned),
    ]


@pytest.fixture(scope="module")
def task():
    return Task.of_world("object", 4)


@pytest.fixture(scope="module")
def classes(model, task):
    return task.classes(model)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_lowers_what_is_said_of_the_truth(found, classes, task, name):
    truth = int(task.indices[0])
    target = (truth + 1) % len(classes) if name == "toward" else None
    attack = PictureAttack(name, EPS, 5, target)
    steps: list[tuple[str, int]] = []
    outcomes = list(
        attack_picture(
            found,
            classes,
            task.pictures[0],
            attack,
            truth,
            "turned",
            lambda who, k: steps.append((who, k)),
        )
    )
    last = outcomes[-1]
    assert list(last.adaptive) == ["none", "turned", "plain"]
    assert [len(each.adaptive) for each in outcomes] == [1, 2, 3]
    assert outcomes[0].said["turned"].adaptive is None and outcomes[0].truth == truth
    for who, moved in last.adaptive.items():
        said = last.said[who]
        assert Budget(EPS).holds(moved, last.clean) and moved.equal(as_kept(moved))
        assert said.adaptive is not None and said.adaptive[truth] < said.clean[truth]
        if target is not None:
            assert said.adaptive[target] > said.clean[target]
        # A Square that has fooled its victim asks no more.
        assert [k for one, k in steps if one == who] in [list(range(1, n)) for n in range(2, 7)]
    # A defense that does nothing is attacked as the undefended encoder is.
    assert last.adaptive["plain"].equal(last.static)
    assert not last.adaptive["turned"].equal(last.static)


def test_without_a_truth_it_is_what_the_encoder_reads(found, classes, task):
    (outcome,) = attack_picture(found[:1], classes, task.pictures[0], PictureAttack(n_steps=1))
    assert outcome.truth == int(outcome.said["none"].clean.argmax())
    same = PictureAttack("toward", target=outcome.truth)
    with pytest.raises(UserError, match="read as the class that the attack is to lead towards"):
        next(attack_picture(found, classes, task.pictures[0], same))


def test_no_budget_leaves_the_picture(found, classes, task):
    attack = PictureAttack(eps=0.0, n_steps=2)
    (outcome,) = attack_picture(found[:1], classes, task.pictures[0], attack)
    assert outcome.static.equal(outcome.clean)
    assert difference_picture(outcome.static, outcome.clean, 0.0).getextrema() == ((128, 128),) * 3


def test_what_a_step_raises_ends_it(found, classes, task):
    def stop(who, k):
        if k == 2:
            raise KeyboardInterrupt

    for name in ("PGD", "APGD", "Square"):
        attack = PictureAttack(name, 0.0)
        with pytest.raises(KeyboardInterrupt):
            next(attack_picture(found, classes, task.pictures[0], attack, on_step=stop))


def test_pictures_keep_the_pixels():
    pixels = as_kept(torch.rand(1, 3, 5, 7))
    picture = as_picture(pixels)
    assert picture.size == (7, 5) and picture.getpixel((2, 1)) == tuple(
        round(255 * value) for value in pixels[0, :, 1, 2].tolist()
    )
    moved = pixels.clone()
    moved[0, 0, 0, 0] = pixels[0, 0, 0, 0] + EPS
    assert difference_picture(moved, pixels, EPS).getpixel((0, 0)) == (255, 128, 128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "other"}, "no attack 'other': choose PGD, APGD, Square, toward"),
        ({"eps": 1.5}, "eps must be from 0 to 1"),
        ({"n_steps": 0}, "at least 1 step, not 0"),
        ({"name": "toward"}, "needs a class to lead towards"),
        ({"target": 1}, "needs a class to lead towards"),
    ],
)
def test_what_cannot_be_is_a_sentence(settings, message):
    with pytest.raises(UserError, match=message):
        PictureAttack(**settings)
