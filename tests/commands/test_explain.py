"""`mm-sae explain`: which latents fire, and what a similarity is made of."""

from dataclasses import replace

import pytest

from mm_sae_plugin import FeatureEdit, Study
from mm_sae_plugin.cli import main


@pytest.fixture
def study(small_sae):
    return Study.open(small_sae)


def test_latents_and_their_contributions_are_told(study, tmp_path, capsys):
    picture = study.store.open_image(0)
    picture.save(tmp_path / "card.png")
    caption = "two [red] cars"
    main(["explain", "--sae", str(study.path), "--image", str(tmp_path / "card.png")])
    alone = capsys.readouterr().out
    assert "card.png" in alone and "similarity" not in alone
    given = ["--image", str(tmp_path / "card.png"), "--text", caption, "--top", "3"]
    main(["explain", "--sae", str(study.path), *given])
    out = capsys.readouterr().out
    for asked in (dict(image=picture), dict(text=caption)):
        for latent in study.latents_of(**asked, top=3):
            assert f"#{latent.latent} " in out and f"{latent.activation:.3f}" in out
    assert caption in out
    assert f"similarity is {study.compare(picture, caption).similarity:.3f}" in out


def test_a_preset_moves_the_similarity(study, tmp_path, capsys):
    picture, caption = study.store.open_image(0), "two red cars"
    picture.save(tmp_path / "card.png")
    latent = study.latents_of(text=caption, top=1)[0].latent
    edit = FeatureEdit.ablate(study, latents=[latent])
    edit.save(tmp_path / "edit.json")
    given = ["--image", str(tmp_path / "card.png"), "--text", caption]
    main(["explain", "--sae", str(study.path), *given, "--edit", str(tmp_path / "edit.json")])
    after = study.without([latent], picture, caption)
    change = after - study.compare(picture, caption).similarity
    told = f"With the edit it is {after:.3f}, a change of {change:+.3f}."
    assert capsys.readouterr().out.endswith(told + "\n")
    replace(edit, sae_id="another").save(tmp_path / "edit.json")
    with pytest.raises(SystemExit):
        main(["explain", "--sae", str(study.path), *given, "--edit", str(tmp_path / "edit.json")])
    assert f"the SAE another, and {study.path} is of the SAE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "red", "--edit", "edit.json"], "give --image and --text with --edit"),
        ([], "nothing to explain: give --image, --text or both"),
        (["--text", " "], "The caption is empty: give at least one word"),
        (["--image", "none.png"], "no such file"),
        (["--text", "red", "--top", "0"], "top must be a whole number"),
    ],
)
def test_wrong_input_is_one_line(study, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        main(["explain", "--sae", str(study.path), *options])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("mm-sae:") == 1
    assert "Latents" not in captured.out
