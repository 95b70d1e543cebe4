"""What was skipped is tried again, and too much of it is no success."""

import json
from dataclasses import replace

import pytest
import torch

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import ListedPairs, PairRecord
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
