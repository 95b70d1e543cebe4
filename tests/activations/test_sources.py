"""What a source of files says of its pairs and pictures reaches the store."""

import io
import tarfile
from dataclasses import replace

import pytest
from PIL import Image

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import load_pairs

CFG = ExtractConfig(batch_size=4, shard_size=4, num_workers=0)


def _save(path, colour, mode="RGB", size=(20, 24)):
    Image.new(mode, size, colour).save(path)


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
