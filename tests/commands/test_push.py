"""`mm-sae push`: the folder goes to the hub, or into a folder to look at."""

import pytest
from sae_lens import SAE

from mm_sae_plugin import Study
from mm_sae_plugin.cli import main
from tests.saes.fake_hub import install


@pytest.fixture
def hub(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path / "hub")


def test_it_is_pushed_and_told_how_to_open(hub, small_sae, capsys):
    main(["push", "ada/clip-sae", "--sae", str(small_sae), "--sae-id", "joint", "--private"])
    out = capsys.readouterr().out
    assert "https://huggingface.co/ada/clip-sae" in out
    assert 'SAE.from_pretrained("ada/clip-sae", "joint")' in out
    assert hub.is_private == {"ada/clip-sae": True}
    folder = hub.folder("ada/clip-sae") / "joint"
    assert SAE.load_from_disk(folder).cfg.d_sae == 64
    assert Study.open(folder).labels.n_features == 64


def test_a_dry_run_asks_nobody(hub, small_sae, tmp_path, capsys):
    out = tmp_path / "look"
    main(["push", "ada/clip-sae", "--sae", str(small_sae), "--dry-run", str(out)])
    assert f"Nothing was uploaded; what would be is in {out}." in capsys.readouterr().out
    assert not hub.is_private
    assert "library_name: saelens" in (out / "README.md").read_text()
    assert Study.open(out / "sae").labels.n_features == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["clip-sae", "--sae", "{sae}"], "'clip-sae' names no repository"),
        (["ada/clip-sae", "--sae", "{store}"], "is not an SAE folder"),
        (["ada/clip-sae", "--sae", "{sae}", "--sae-id", "a b"], "cannot be the id of an SAE"),
        (["ada/clip-sae", "--sae", "{sae}", "--dry-run", "{sae}"], "is not empty"),
    ],
)
def test_wrong_input_is_one_line(hub, small_sae, capsys, options, message):
    places = {"sae": small_sae, "store": small_sae.parent / "acts"}
    with pytest.raises(SystemExit) as stop:
        main(["push", *(option.format(**places) for option in options)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("mm-sae:") == 1
    assert not hub.is_private


def test_without_a_token_it_says_how_to_get_one(monkeypatch, tmp_path, small_sae, capsys):
    install(monkeypatch, tmp_path / "hub", token=None)
    with pytest.raises(SystemExit):
        main(["push", "ada/clip-sae", "--sae", str(small_sae)])
    assert "mm-sae: There is no token for the hub" in capsys.readouterr().err
