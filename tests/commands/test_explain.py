"""`mm-sae explain`: which latents fire, and what a similarity is made of."""

import pytest

from mm_sae_plugin import Study
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to explain: give --image, --text or both"),
        (["--text", " "], "type at least one word"),
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
