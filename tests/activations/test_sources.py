"""What a source of files says of its pairs and pictures reaches the store."""

import io
import json
import re
import tarfile
from dataclasses import replace

import pytest
from PIL import Image
from safetensors import safe_open

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import load_pairs
from tests.activations.pictures import noise_pairs

CFG = ExtractConfig(batch_size=4, shard_size=4, num_workers=0, max_skipped=1.0)


def _save(path, colour, mode="RGB", size=(20, 24)):
    # Without compression, so that two of them are files of one size.
    Image.new(mode, size, colour).save(path, compress_level=0)


@pytest.fixture
def folder(tmp_path):
    """Seven pictures with noise, each with its caption."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(7):
        Image.effect_noise((20, 24), 50 + i).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"picture {i}")
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_everything_is_used_or_listed(model, tmp_path, folder, workers):
    (folder / "0.txt").write_bytes("a café".encode("cp1252"))
    (folder / "1.png").write_bytes(b"no picture")
    (folder / "2.txt").unlink()
    (folder / "3.txt").write_text("one\ntwo")
    (folder / "lost.txt").write_text("no picture beside it")
    store = extract(model, load_pairs(folder), tmp_path / "s", replace(CFG, num_workers=workers))
    assert store.image_ids == [f"{i}.png" for i in range(3, 7)]
    assert store.captions == ["one", "two", "picture 4", "picture 5", "picture 6"]
    listed = dict(store.manifest.skipped)
    assert listed.keys() == {"lost.txt", "0.png", "1.png", "2.png"}
    assert "line 1 is not UTF-8" in listed["0.png"] and "--encoding" in listed["0.png"]
    assert listed["1.png"] == "not an image, or of an unknown format"
    assert listed["2.png"] == "the caption is empty"
    assert listed["lost.txt"] == "there is no image beside it"


def test_images_alone_need_no_captions(model, tmp_path, folder):
    (folder / "0.txt").write_bytes("a café".encode("cp1252"))
    cfg = replace(CFG, text_hook=None)
    assert extract(model, load_pairs(folder), tmp_path / "s", cfg).manifest.n_images == 7


def test_strict_stops_at_what_the_source_lists(model, tmp_path, folder):
    (folder / "lost.txt").write_text("no picture beside it")
    with pytest.raises(UserError, match=r"lost\.txt: there is no image beside it; mend"):
        extract(model, load_pairs(folder), tmp_path / "s", replace(CFG, strict=True))
    assert not (tmp_path / "s").exists()


def test_members_of_a_shard_that_are_not_used_are_in_the_manifest(model, tmp_path, folder):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, f"v1.5/{path.name}")
        info = tarfile.TarInfo("alone.txt")
        tar.addfile(info, io.BytesIO(b""))
    store = extract(model, load_pairs(tmp_path / "s.tar"), tmp_path / "s", CFG)
    assert store.manifest.n_pairs == 7
    assert store.manifest.skipped == [("s.tar/alone.txt", "its sample has no image beside it")]


def test_the_store_counts_what_looks_odd_and_the_picture_is_as_the_model_saw_it(
    model, tmp_path, folder
):
    _save(folder / "0.png", (0, 0, 0, 0), "RGBA")
    _save(folder / "1.png", "red")
    clear = Image.new("RGBA", (20, 24), "black")
    clear.paste((0, 0, 0, 0), (0, 0, 10, 24))
    clear.save(folder / "2.png")
    for background, ground in (("white", 255), ("#303030", 48)):
        source = load_pairs(folder, background=background)
        store = extract(model, source, tmp_path / background.strip("#"), CFG)
        pictures = store.manifest.pictures
        assert pictures is not None
        assert (pictures.n_with_alpha, pictures.n_one_colour) == (2, 2)
        again = ActivationStore.open(store.path)
        assert again.manifest == store.manifest
        shown = again.open_image(2)
        assert shown is not None and shown.getpixel((0, 0)) == (ground,) * 3
    with pytest.raises(UserError, match=r"reading .*#303030' there, .*#ffffff' now"):
        extract(model, load_pairs(folder), tmp_path / "303030", CFG)


def test_a_limit_of_pixels_is_remembered(model, tmp_path, folder):
    _save(folder / "0.png", "red", size=(40, 40))
    store = extract(model, load_pairs(folder, max_pixels=480), tmp_path / "s", CFG)
    assert "--max-pixels 480" in dict(store.manifest.skipped)["0.png"]
    assert store.manifest.reader is not None and store.manifest.reader.max_pixels == 480


def test_facts_survive_an_interruption(model, tmp_path, folder):
    _save(folder / "0.png", "red")
    whole = extract(model, load_pairs(folder), tmp_path / "whole", CFG)
    strict = replace(CFG, strict=True)
    held = (folder / "6.png").read_bytes()
    (folder / "6.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"6\.png"):
        extract(model, load_pairs(folder), tmp_path / "s", strict)
    # Mended, it goes on: only what was used must be the same.
    (folder / "6.png").write_bytes(held)
    resumed = extract(model, load_pairs(folder), tmp_path / "s", strict)
    assert resumed.manifest.pictures == whole.manifest.pictures
    assert resumed.manifest.key == whole.manifest.key


def test_a_picture_changed_in_place_is_not_taken_for_the_same(model, tmp_path, folder):
    lines = ["image,caption", *(f"{i}.png,picture {i}" for i in range(7))]
    (folder / "captions.csv").write_text("\n".join(lines))
    _save(folder / "3.png", "red")
    store = extract(model, load_pairs(folder), tmp_path / "s", CFG)
    # Of the same size, as small pictures often are.
    size = (folder / "3.png").stat().st_size
    _save(folder / "3.png", "blue")
    assert (folder / "3.png").stat().st_size == size
    with pytest.raises(UserError, match=r"1 of 7 pictures have changed.*first of them 3\.png"):
        extract(model, load_pairs(folder), tmp_path / "s", CFG)
    again = extract(model, load_pairs(folder), tmp_path / "again", CFG)
    assert again.manifest.key != store.manifest.key
    assert again.manifest.fingerprint == store.manifest.fingerprint


def test_a_copy_is_the_same_and_what_is_gone_is_still_right(model, tmp_path, folder):
    import os
    import shutil

    store = extract(model, load_pairs(folder), tmp_path / "s", CFG)
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").iterdir():
        os.utime(path, (0, 0))
    again = extract(model, load_pairs(tmp_path / "copy"), tmp_path / "s", CFG)
    assert again.manifest == store.manifest
    source = load_pairs(folder)
    (folder / "3.png").unlink()
    assert extract(model, source, tmp_path / "s", CFG).manifest == store.manifest


def _make_old(path, name):
    """Take out what earlier versions did not write."""
    content = json.loads((path / name).read_text())
    for field in ("reading", "reader", "pictures"):
        content.pop(field, None)
    content.get("identity", {}).pop("reading", None)
    (path / name).write_text(json.dumps(content))


def test_a_store_of_an_earlier_version_opens_and_is_not_gone_on_with(model, tmp_path, folder):
    extract(model, load_pairs(folder), tmp_path / "s", CFG)
    for name in ("manifest.json", "progress.json"):
        _make_old(tmp_path / "s", name)
    store = ActivationStore.open(tmp_path / "s")
    assert store.manifest.pictures is None and store.open_image(0) is not None
    for _ in range(2):
        with pytest.raises(UserError, match=r"an earlier version.*black.*needs another folder"):
            extract(model, load_pairs(folder), tmp_path / "s", CFG)
        (tmp_path / "s" / "manifest.json").unlink(missing_ok=True)


def test_a_source_without_files_keeps_its_bytes_and_its_address(model, tmp_path):
    store = extract(model, load_pairs("factorworld:10"), tmp_path / "s", CFG)
    assert store.manifest.pictures is None and store.manifest.reading is None
    assert store.manifest.key == store.manifest.identity.key
    with safe_open(tmp_path / "s" / store.manifest.shards[0].file, framework="pt") as file:
        assert "picture_facts" not in file.keys()  # noqa: SIM118
    for name in ("manifest.json", "progress.json"):
        _make_old(tmp_path / "s", name)
    key = store.manifest.key
    assert extract(model, load_pairs("factorworld:10"), tmp_path / "s", CFG).manifest.key == key
    (tmp_path / "s" / "manifest.json").unlink()
    assert extract(model, load_pairs("factorworld:10"), tmp_path / "s", CFG).manifest.key == key


def test_a_folder_of_other_pairs_is_told_in_plain_words(model, tmp_path, folder):
    world, files = tmp_path / "world", tmp_path / "files"
    extract(model, load_pairs("factorworld:10"), world, CFG)
    extract(model, load_pairs(folder), files, CFG)
    for _ in range(2):
        for out, spec, message in (
            (world, folder, f"10 FactorWorld pairs of seed 0 there, pairs of {folder} now"),
            (files, "factorworld:10", f"pairs of {folder} there, 10 FactorWorld pairs of seed 0"),
            (world, "factorworld:1200:3", "seed 0 there, 1,200 FactorWorld pairs of seed 3 now"),
        ):
            with pytest.raises(UserError, match=re.escape(message)) as told:
                extract(model, load_pairs(spec), out, CFG)
            assert "earlier version" not in str(told.value)
            assert "fingerprint" not in str(told.value)
        # As an interrupted extraction leaves it.
        for out in (world, files):
            (out / "manifest.json").unlink(missing_ok=True)


def test_pairs_of_a_script_are_of_no_earlier_version(model, tmp_path, folder):
    extract(model, noise_pairs(4), tmp_path / "s", CFG)
    with pytest.raises(UserError, match=r"holds other activations \(.*fingerprint 'noise' there"):
        extract(model, load_pairs(folder), tmp_path / "s", CFG)
