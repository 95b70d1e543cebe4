"""`mm-sae convert`: SAEs of other toolkits."""

import pytest
from sae_lens import SAE

from mm_sae_plugin.cli import main
from tests.saes.converters.files import random_state, write_prisma, write_saev
from tests.saes.converters.test_saev import FIRST, SCHEMA_1


def test_an_sae_of_prisma_is_converted(tmp_path, capsys):
    source = write_prisma(tmp_path / "theirs", random_state())
    out = tmp_path / "ours"
    main(["convert", str(source), "--kind", "prisma", "--out", str(out)])
    told = f"A standard SAE with 32 latents of vision.blocks.9.hook_resid_post is in {out}."
    assert capsys.readouterr().out == f"{told}\n"
    assert SAE.load_from_disk(out).cfg.metadata.hook_name == "vision.blocks.9.hook_resid_post"


def test_model_and_hook_are_noted(tmp_path, capsys):
    source = write_saev(tmp_path / "sae.pt", random_state(), SCHEMA_1)
    options = ["--kind", "saev", "--model", "ViT-B-16", "--hook", "vision.hook_pooled"]
    out = str(tmp_path / "ours")
    main(["convert", str(source), *options, "--out", out, "--subtract-b-dec", "True"])
    metadata = SAE.load_from_disk(out).cfg.metadata
    assert (metadata.model_name, metadata.hook_name) == ("ViT-B-16", "vision.hook_pooled")
    write_saev(tmp_path / "sae.pt", random_state(), FIRST)
    main(["convert", str(source), "--kind", "saev", "--out", str(tmp_path / "second")])
    assert "of a hook that its files do not say" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("none", [], "holds no weights file of Prisma"),
        ("theirs", ["--hook", "hook_pooled"], "is of no tower"),
        ("theirs", ["--subtract-b-dec", "True"], "is for saev's files"),
        ("theirs", ["--out", "{theirs}"], "is not empty"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, capsys, source, options, message):
    theirs = write_prisma(tmp_path / "theirs", random_state())
    options = [option.format(theirs=theirs) for option in options]
    if "--out" not in options:
        options += ["--out", str(tmp_path / "ours")]
    with pytest.raises(SystemExit) as stop:
        main(["convert", str(tmp_path / source), "--kind", "prisma", *options])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("mm-sae:") == 1
