"""What the bias page cannot do is one sentence, and the demo goes on."""

import pytest

from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.bias import subject
from mm_sae_plugin.errors import UserError
from tests.demos.test_bias_page import ask, client as client


@pytest.mark.parametrize(
    ("endpoint", "changed", "message"),
    [
        ("audit", {"flip": None}, "no association None: choose gender:woman/man, age:young/old"),
        ("attribution", {"by": None}, "no score None: choose carried"),
        ("attribution", {"model": None}, "no model None here: choose factorworld, factorw"),
        ("toggle", {"side": None}, "no side None: choose image, text, both"),
        ("twins", {"occupation": None}, "no occupation None: choose nurse"),
        ("latents", {"show": "64"}, "concept .*64.* is no latent of factorworld-biased"),
        ("latents", {"show": "many"}, "concept .*many.* is no latent"),
        ("latents", {"show": ",".join(map(str, range(13)))}, "has 13 latents: give at most 12"),
        ("toggle", {"latents": "1, x"}, "What is taken out .*x.* is no latent"),
        ("twins", {"pair": 5}, "pair must be a whole number, 1 to 4, and is 5"),
        ("twins", {"pair": None}, "pair must be a whole number, 1 to 4, and is empty"),
    ],
)
def test_bad_input_is_a_sentence(client, endpoint, changed, message):
    with pytest.raises(Exception, match=message):
        ask(client, endpoint, **changed)
    assert "pair 1" in ask(client, "twins")


def test_a_class_without_latents_is_named(bias):
    from mm_sae_plugin.demos.bias.toggling import removal

    biased = bias.subjects[1]
    with pytest.raises(UserError, match="No latent of factorworld-biased is 'Dead'"):
        removal(biased, ["Dead"], [])


def test_a_model_of_another_world_is_refused(small_sae, monkeypatch):
    class Other:
        pass

    monkeypatch.setattr(subject, "WordTokenizer", Other)
    with pytest.raises(UserError, match="know FactorWorld, and factorworld does not"):
        DEMOS["bias"].build(DemoOptions(small_sae))


def test_one_model_alone_has_a_page(small_sae, monkeypatch):
    monkeypatch.setattr(subject, "N_PER_TARGET", 4)
    app = DEMOS["bias"].build(DemoOptions(small_sae))
    values = [getattr(block, "value", "") for block in app.blocks.values()]
    assert any("`factorworld` is audited." in str(value) for value in values)


def test_two_saes_of_one_model_are_told_apart(small_sae, monkeypatch):
    monkeypatch.setattr(subject, "N_PER_TARGET", 4)
    first, second = subject.open_subjects(small_sae, None, small_sae.parent / "." / "sae")
    assert first.name.startswith("factorworld (") and first.n_per_target == second.n_per_target
