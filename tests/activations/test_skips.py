"""What was skipped is tried again, and too much of it is no success."""

import json
import tarfile
from dataclasses import replace

import pytest
import torch
from PIL import Image

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import ListedPairs, PairRecord, load_pairs
from tests.activations.pictures import NoiseOpener, noise_pairs

CFG = ExtractConfig(batch_size=8, shard_size=16, num_workers=0)
ANY = replace(CFG, max_skipped=1.0)


def _content(store):
    metadata = (store.captions, store.image_ids, store.labels, store.manifest.skipped)
    return store.image_rows().tolist(), store.text_rows().tolist(), metadata


def test_too_many_skipped_is_an_error_that_keeps_what_was_encoded(model, tmp_path):
    source = noise_pairs(40, missing=frozenset(range(1, 40)))
    message = (
        r"39 of 40 pairs of noise could not be used.*share of 0\.05.*--max-skipped.*"
        r"id-1: it is missing; id-2: .*tries them anew.*is kept in "
    )
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            extract(model, source, tmp_path / "s", CFG)
        with pytest.raises(UserError, match="not finished"):
            ActivationStore.open(tmp_path / "s")
        assert json.loads((tmp_path / "s" / "progress.json").read_text())["n_done"] == 40
    # More is allowed: what is kept is enough, and no image is encoded again.
    log = tmp_path / "log"
    source = noise_pairs(40, missing=frozenset(range(1, 40)), log=str(log))
    store = extract(model, source, tmp_path / "s", ANY)
    assert store.image_ids == ["id-0"] and len(store.manifest.skipped) == 39
    assert "0" not in log.read_text().split()


def test_the_share_is_of_pairs_and_may_just_be_reached(model, tmp_path):
    missing = frozenset({7})
    store = extract(model, noise_pairs(20, 3, missing=missing), tmp_path / "s", CFG)
    assert store.manifest.n_pairs == 57
    with pytest.raises(UserError, match="3 of 57 pairs"):
        extract(model, noise_pairs(19, 3, missing=missing), tmp_path / "t", CFG)
    # One of three captions is a third of a pair's image.
    silent = {f"image {i} said 0": "" for i in range(4)}
    with pytest.raises(UserError, match=r"4 of 60 pairs.*id-0: the caption is empty"):
        extract(model, noise_pairs(20, 3, captions=silent), tmp_path / "u", CFG)


@pytest.mark.parametrize(
    "missing", [{0}, {20}, {49}, {3, 48, 49}, set(range(16, 24)), {*range(44)}]
)
@pytest.mark.parametrize("finished", [True, False])
def test_mended_images_give_the_whole_store(model, tmp_path, missing, finished):
    whole = extract(model, noise_pairs(50, 2), tmp_path / "whole", CFG)
    lacking = noise_pairs(50, 2, missing=frozenset(missing))
    if finished:
        extract(model, lacking, tmp_path / "s", ANY)
    else:
        with pytest.raises(UserError, match="could not be used"):
            extract(model, lacking, tmp_path / "s", replace(CFG, max_skipped=0.0))
    mended = extract(model, noise_pairs(50, 2), tmp_path / "s", CFG)
    assert _content(mended) == _content(whole)
    assert mended.manifest.shards == whole.manifest.shards
    assert _content(ActivationStore.open(tmp_path / "s")) == _content(whole)
    shards = {path.name for path in (tmp_path / "s").glob("shard-*")}
    assert shards == {shard.file for shard in mended.manifest.shards}


def test_shards_before_the_first_mended_image_stay(model, tmp_path):
    extract(model, noise_pairs(50, missing=frozenset({2, 37})), tmp_path / "s", ANY)
    log = tmp_path / "log"
    source = noise_pairs(50, missing=frozenset({2}), log=str(log))
    store = extract(model, source, tmp_path / "s", ANY)
    assert [name for name, _ in store.manifest.skipped] == ["id-2"]
    opened = [int(image) for image in log.read_text().split()]
    # Tried, found, and then everything from the shard of the mended one on.
    shard = next(shard for shard in store.manifest.shards if shard.stop > 37)
    assert opened == [2, 37, *range(shard.start, 50)] and shard.start > 0


def test_what_cannot_be_mended_is_not_computed_again(model, tmp_path):
    silent = {"image 3 said 0": ""}
    missing = frozenset({9})
    first = extract(model, noise_pairs(20, captions=silent, missing=missing), tmp_path / "s", ANY)
    log = tmp_path / "log"
    source = noise_pairs(20, captions=silent, missing=missing, log=str(log))
    again = extract(model, source, tmp_path / "s", ANY)
    assert _content(again) == _content(first)
    assert log.read_text().split() == ["9"]


def test_a_finished_store_that_lacks_too_much_is_no_success_either(model, tmp_path):
    source = noise_pairs(20, missing=frozenset({9, 10}))
    store = extract(model, source, tmp_path / "s", ANY)
    with pytest.raises(UserError, match="2 of 20 pairs"):
        extract(model, source, tmp_path / "s", CFG)
    with pytest.raises(UserError, match="id-9: it is missing; mend"):
        extract(model, source, tmp_path / "s", replace(ANY, strict=True))
    # It stays a store.
    assert ActivationStore.open(tmp_path / "s").manifest == store.manifest


def test_skips_of_an_earlier_version_are_tried_again(model, tmp_path):
    whole = extract(model, noise_pairs(30), tmp_path / "whole", CFG)
    extract(model, noise_pairs(30, missing=frozenset({20})), tmp_path / "s", ANY)
    for name in ("manifest.json", "progress.json"):
        path = tmp_path / "s" / name
        content = json.loads(path.read_text())
        content.pop("format_version")
        if name == "progress.json":
            content["skipped"] = [
                [s["position"], s["image_id"], s["reason"]] for s in content["skipped"]
            ]
        path.write_text(json.dumps(content))
    assert _content(extract(model, noise_pairs(30), tmp_path / "s", CFG)) == _content(whole)


def test_a_store_that_came_without_its_progress_is_returned(model, tmp_path):
    extract(model, noise_pairs(30, missing=frozenset({20})), tmp_path / "s", CFG)
    (tmp_path / "s" / "progress.json").unlink()
    store = extract(model, noise_pairs(30), tmp_path / "s", CFG)
    assert store.manifest.n_images == 29


def test_no_share_above_one():
    for share in (-0.1, 1.5, 5.0):
        with pytest.raises(UserError, match="max_skipped is a share from 0 to 1"):
            ExtractConfig(max_skipped=share)


def test_text_that_is_no_unicode_does_not_reach_the_end(model, tmp_path):
    records = [PairRecord(i, f"image {i}", f"id-{i}", {"kind": "a"}) for i in range(8)]
    half = "\ud83d"
    records[2] = PairRecord(2, f"half {half} a face", f"id-2{half}", {f"k{half}": f"v{half}"})
    records[5] = PairRecord(f"5{half}", "image 5", "id-5", {"kind": half})
    source = ListedPairs("own", "own", records, NoiseOpener())
    store = extract(model, source, tmp_path / "s", ANY)
    assert store.captions == [f"image {i}" for i in (0, 1, 3, 4, 6, 7)]
    skipped = dict(ActivationStore.open(store.path).manifest.skipped)
    assert "no valid Unicode: 'half \\\\ud83d a face'" in skipped["id-2\\ud83d"]
    assert "\\ud83d" in skipped["id-5"]
    assert torch.isfinite(store.text_rows()).all()
    alone = extract(model, source, tmp_path / "alone", replace(ANY, text_hook=None))
    assert alone.captions[2] == "" and alone.image_ids[2] == "id-2\\ud83d"
    assert alone.labels["kind"][2] == "" and alone.labels["k\\ud83d"][2] == "v\\ud83d"


@pytest.fixture
def pictures(tmp_path):
    """A folder of 20 pictures with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        Image.new("RGB", (20, 20), (10 * i, 0, 0)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"picture {i}")
    return folder


def test_rows_without_an_image_are_pairs_that_are_lost(model, tmp_path, pictures):
    path = pictures / "pairs.csv"
    rows = [f"{i}.png,picture {i}" for i in range(19)]
    path.write_text("\n".join(["image,caption", *rows, ",nothing"]))
    assert extract(model, load_pairs(path), tmp_path / "s", CFG).manifest.n_pairs == 19
    path.write_text("\n".join(["image,caption", rows[0], *[",nothing"] * 499]))
    message = (
        r"499 of 500 pairs of .*pairs\.csv could not be used, rows and samples without an image or "
        r"an id among them, more than the share of 0\.05.*--max-skipped.*"
        r"line 3: the column 'image' is empty; .*or allow more\.$"
    )
    with pytest.raises(UserError, match=message):
        extract(model, load_pairs(path), tmp_path / "t", CFG)
    # Before anything is encoded: there is no store that a mended table would not fit.
    assert not (tmp_path / "t").exists()
    path.write_text("\n".join(["image,caption", *rows]))
    assert extract(model, load_pairs(path), tmp_path / "t", CFG).manifest.n_pairs == 19


def test_what_the_source_lists_and_what_cannot_be_opened_count_together(model, tmp_path, pictures):
    (pictures / "0.png").write_bytes(b"no image")
    path = pictures / "pairs.csv"
    rows = [f"{i}.png,picture {i}" for i in range(20)]
    path.write_text("\n".join(["image,caption", *rows, ",nothing"]))
    message = (
        r"2 of 21 pairs.*line 22: the column 'image' is empty; 0\.png: not an image.*is kept in"
    )
    with pytest.raises(UserError, match=message):
        extract(model, load_pairs(path), tmp_path / "s", CFG)
    store = extract(model, load_pairs(path), tmp_path / "s", replace(CFG, max_skipped=0.1))
    assert store.manifest.n_pairs == 19 and len(store.manifest.skipped) == 2
    # A finished store is measured in the same way.
    with pytest.raises(UserError, match=message):
        extract(model, load_pairs(path), tmp_path / "s", CFG)


def test_captions_in_a_shard_whose_image_is_not_there_are_lost(model, tmp_path, pictures):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for path in sorted(pictures.iterdir()):
            if path.name not in ("3.png", "4.png"):
                tar.add(path, path.name)
    with pytest.raises(UserError, match=r"2 of 20 pairs.*3\.txt: its sample has no image"):
        extract(model, load_pairs(tmp_path / "s.tar"), tmp_path / "s", CFG)


def test_what_lies_about_in_a_folder_is_no_pair_that_is_lost(model, tmp_path, pictures):
    for name in ("README.txt", "LICENSE", "notes.json", "classes.csv", "cover.svg"):
        (pictures / name).write_text("words")
    store = extract(model, load_pairs(pictures), tmp_path / "s", replace(CFG, max_skipped=0.0))
    assert store.manifest.n_pairs == 20 and len(store.manifest.skipped) == 5
    # The same where a table lists only some of the pictures.
    (pictures / "captions.csv").write_text("image,caption\n0.png,a\n1.png,b\n")
    source = load_pairs(pictures)
    assert len(source.skipped) == 18
    store = extract(model, source, tmp_path / "t", replace(CFG, max_skipped=0.0))
    assert store.manifest.n_pairs == 2
