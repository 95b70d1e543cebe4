"""Several hooks in one pass: each store is what it would be alone."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract, extract_several
from mm_sae_plugin.cli import main
from mm_sae_plugin.errors import Terminated, UserError
from mm_sae_plugin.models import HookedCLIP
from tests.activations.pictures import noise_pairs, opened
from tests.engines.ray_tasks import Killing

BLOCK = "vision.blocks.{}.hook_resid_post"
SMALL = ExtractConfig(batch_size=8, shard_size=20, num_workers=0)
CFGS = {
    "joint": SMALL,
    "pooled": replace(SMALL, image_hook="vision.hook_pooled", text_hook="text.hook_pooled"),
    "first": replace(SMALL, image_hook=BLOCK.format(0), token_mode="cls"),
    "tokens": replace(SMALL, image_hook=BLOCK.format(0), token_mode="all", text_hook=None),
}


def files_of(store: ActivationStore) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.path.iterdir()}


def folders(root: Path, names: Any = CFGS) -> dict[Path, ExtractConfig]:
    return {root / name: CFGS[name] for name in names}


def test_each_store_is_the_one_it_would_be_alone(model, tmp_path, tmp_path_factory):
    log = tmp_path / "log"
    source = noise_pairs(50, captions_each=2, missing=frozenset({3}), log=str(log))
    stores = extract_several(model, source, folders(tmp_path), progress=False)
    assert opened(log) == list(range(50))
    alone = tmp_path_factory.mktemp("alone")
    for name, cfg in CFGS.items():
        one = extract(model, source, alone / name, cfg, progress=False)
        assert files_of(stores[tmp_path / name]) == files_of(one)
    # Rows of all tokens fill shards sooner.
    n_shards = {folder.name: len(store.manifest.shards) for folder, store in stores.items()}
    assert n_shards["tokens"] > n_shards["first"] == n_shards["joint"]


def test_the_towers_run_once(model, tmp_path, monkeypatch):
    source, calls = noise_pairs(24), []
    forward = HookedCLIP.forward

    def noted(self: HookedCLIP, *args: Any, **kwargs: Any) -> Any:
        calls.append((next(iter(kwargs)), kwargs.get("stop_at_layer")))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(HookedCLIP, "forward", noted)
    blocks = {
        tmp_path / str(i): replace(CFGS["tokens"], image_hook=BLOCK.format(i)) for i in (0, 1)
    }
    extract_several(model, source, blocks, progress=False)
    # A blank pair, run for each config, tells how many tokens a picture has.
    assert calls[2:] == [("images", 2)] * 3
    calls.clear()
    extract_several(model, source, folders(tmp_path / "more", ["joint", "first"]), progress=False)
    # To the end, for the joint embedding.
    assert calls[1:] == [("images", None), ("texts", None)] * 3


def test_what_was_interrupted_goes_on_and_what_is_done_is_left_alone(model, tmp_path):
    source, log = noise_pairs(50), tmp_path / "log"
    whole = extract_several(model, source, folders(tmp_path / "whole"), progress=False)
    wanted = folders(tmp_path / "some")
    extract(model, source, tmp_path / "some" / "joint", SMALL, progress=False)
    stopped = noise_pairs(50, interrupt_at=30)
    with pytest.raises(KeyboardInterrupt, match=r"24 of 50 images are kept in .* and 2 more"):
        extract_several(model, stopped, wanted, progress=False)
    logged = noise_pairs(50, log=str(log))
    again = extract_several(model, logged, wanted, progress=False)
    assert opened(log) == list(range(24, 50))
    for before, after in zip(whole.values(), again.values(), strict=True):
        assert (before.image_rows() == after.image_rows()).all()
        assert before.manifest.key == after.manifest.key


def test_stores_that_came_to_different_places_are_finished_one_after_the_other(model, tmp_path):
    log = tmp_path / "log"
    (first, cfg), *_ = folders(tmp_path).items()
    with pytest.raises(KeyboardInterrupt):
        extract(model, noise_pairs(50, interrupt_at=30), first, cfg, progress=False)
    source = noise_pairs(50, log=str(log))
    stores = extract_several(model, source, folders(tmp_path, ["joint", "first"]), progress=False)
    assert opened(log) == [*range(50), *range(24, 50)]
    assert {store.manifest.n_images for store in stores.values()} == {50}


def test_termination_keeps_every_store(model, tmp_path):
    source = noise_pairs(50)
    opener = Killing(source.opener, 20, tmp_path / "killed", signal.SIGTERM, os.getpid())
    source = replace(source, opener=opener)
    with pytest.raises(Terminated, match="16 of 50 images are kept"):
        extract_several(model, source, folders(tmp_path), progress=False)
    assert all((folder / "progress.json").is_file() for folder in folders(tmp_path))


@pytest.mark.parametrize(
    ("stores", "message"),
    [
        ({}, "There is no store to extract"),
        ({"a": SMALL, "./a": SMALL}, "Two stores cannot share a"),
        ({"a": SMALL, "a/b": SMALL}, "a/b would lie within the store .*a: give each"),
        (["a"], "takes what to keep where, not a list: give a dict"),
        ({3: SMALL}, "folder must be a path, not an int"),
        ({"a": None}, "What a is to hold must be an ExtractConfig, not"),
        (
            {"a": SMALL, "b": replace(CFGS["first"], dtype="float16")},
            "dtype is float32 for a and float16 for b",
        ),
        ({"a": SMALL, "b": replace(SMALL, image_hook="vision.hook_pol")}, "did you mean"),
    ],
)
@pytest.mark.usefixtures("any_types")
def test_what_cannot_be_taken_together_is_refused(model, tmp_path, monkeypatch, stores, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        extract_several(model, noise_pairs(4), stores)
    assert not list(tmp_path.iterdir())


def test_the_command_names_the_stores_after_their_hooks(tmp_path, capsys):
    hooks = ["vision.hook_normalized", "vision.blocks.1.hook_resid_post"]
    command = ["extract", "--pairs", "factorworld:16", "--out", str(tmp_path / "acts")]
    main([*command, "--token-mode", "cls", "--image-hooks", *hooks])
    said = capsys.readouterr().out
    for hook in hooks:
        store = ActivationStore.open(tmp_path / "acts" / hook)
        assert store.manifest.image_hook == hook
        assert f"16 pairs are in {store.path}." in said
    with pytest.raises(SystemExit):
        main([*command, "--image-hooks", *hooks, "--engine", "ray"])
    assert "leave --engine out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--image-hooks", *hooks, "--image-hook", "vision.hook_proj"])
    assert "name vision.hook_proj among the others" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--image-hooks", hooks[0], hooks[0]])
    assert f"--image-hooks names {hooks[0]} twice: leave one out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--image-hooks"])
    assert "--image-hooks names no hook: give some" in capsys.readouterr().err
