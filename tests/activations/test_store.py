"""A store reads back in any pieces, and names whatever is wrong with it."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from tests.activations.pictures import noise_pairs
from tests.activations.tiny import tiny_clip

CFG = ExtractConfig(batch_size=8, shard_size=20, num_workers=0)


@pytest.fixture
def store(model, tmp_path):
    return extract(model, noise_pairs(50, captions_each=2), tmp_path / "s", CFG, progress=False)


@pytest.mark.parametrize("chunk", [1, 7, 24, 1000])
def test_pairs_come_in_pieces_of_any_size(store, chunk):
    parts = list(store.iter_pairs(chunk))
    assert all(len(part[0]) == chunk for part in parts[:-1])
    acts_image, acts_text, index = (torch.cat(column) for column in zip(*parts, strict=True))
    assert torch.equal(acts_image, store.image_rows()[store.image_index])
    assert torch.equal(acts_text, store.text_rows())
    assert torch.equal(index, store.image_index)


def test_opening_again_gives_the_same(store):
    again = ActivationStore.open(store.path)
    assert again.manifest == store.manifest
    assert torch.equal(again.text_rows(), store.text_rows())


def test_image_of_a_source_that_is_gone(store):
    assert store.open_image(0) is None


def test_every_file_is_checked(store):
    for path in sorted(store.path.iterdir()):
        if path.name == "progress.json":
            continue
        whole = path.read_bytes()
        for damaged in (whole[:-2], whole[: len(whole) // 2], b""):
            path.write_bytes(damaged)
            with pytest.raises(UserError, match=path.name):
                ActivationStore.open(store.path)
        path.write_bytes(whole)
        ActivationStore.open(store.path)


def test_one_wrong_bit_is_found(store):
    path = store.path / store.manifest.shards[1].file
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"shard-00001\.safetensors is damaged"):
        ActivationStore.open(store.path)


def test_a_lost_shard_is_named(store):
    (store.path / store.manifest.shards[0].file).unlink()
    with pytest.raises(UserError, match=r"shard-00000\.safetensors is missing"):
        ActivationStore.open(store.path)


def test_what_is_no_store_is_refused_and_said_to_be_what_it_is(store, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for path, told in (
        (tmp_path / "nothing", r"there is no such folder; make one with mm-sae extract\."),
        (tmp_path / "file", "it is a file; give the folder that"),
        (tmp_path / "empty", r"no activation store: make one with mm-sae extract\."),
        # Where several hooks were extracted, each has its store in there.
        (store.path.parent, rf"no activation store: give one of those in it, .*{store.path.name}"),
    ):
        with pytest.raises(UserError, match=told):
            ActivationStore.open(path)


def test_the_key_follows_content_and_nothing_else(model, tmp_path):
    def key(name, a_model=model, cfg=CFG, **pairs):
        return extract(a_model, noise_pairs(6, **pairs), tmp_path / name, cfg, False).manifest.key

    same = key("same")
    other_split = ExtractConfig(batch_size=3, shard_size=4, num_workers=0)
    assert key("split", cfg=other_split) == same
    others = {
        key("weights", tiny_clip(seed=1)),
        key("source", fingerprint="other"),
        key("dtype", cfg=ExtractConfig(num_workers=0, dtype="float16")),
        key("hook", cfg=ExtractConfig(num_workers=0, image_hook="vision.hook_proj")),
    }
    assert len(others) == 4 and same not in others


@pytest.mark.parametrize("n_pairs", [1, 7, 20, 64, 1000])
def test_partitions_are_the_store_in_order(store, n_pairs):
    parts = store.partitions(n_pairs)
    assert [(part.start, part.stop) for part in parts] == [
        (start, min(start + n_pairs, 100)) for start in range(0, 100, n_pairs)
    ]
    batches = [batch for part in parts for batch in part.iter_pairs(3)]
    assert torch.equal(torch.cat([b.acts_text for b in batches]), store.text_rows())
    assert torch.equal(torch.cat([b.image_index for b in batches]), store.image_index)
    images = torch.cat([b.acts_image for b in batches])
    assert torch.equal(images, store.image_rows()[store.image_index])
    for acts_image, acts_text, index, rows in batches:
        assert torch.equal(acts_text, store.text_rows()[rows])
        assert torch.equal(index, store.image_index[rows])
        assert len(acts_image) == rows.stop - rows.start <= 3


def test_a_partition_in_one_piece(store):
    (batch,) = store.partitions(30)[1].iter_pairs()
    assert batch.rows == slice(30, 60) and len(batch.acts_text) == 30


def test_a_partition_can_be_read_elsewhere(store):
    part = store.partitions(32)[2]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        acts_text, index = pool.submit(_read, part).result()
    assert torch.equal(torch.tensor(acts_text), store.text_rows()[64:96])
    assert index == store.image_index[64:96].tolist()


def _read(part):
    (batch,) = part.iter_pairs()
    return batch.acts_text.tolist(), batch.image_index.tolist()


def test_a_partition_sees_a_store_that_was_made_anew(model, tmp_path, store):
    (before,) = store.partitions(100)[0].iter_pairs()
    other = extract(model, noise_pairs(20), tmp_path / "other", CFG, progress=False)
    shutil.rmtree(store.path)
    shutil.move(other.path, store.path)
    (after,) = ActivationStore.open(store.path).partitions(100)[0].iter_pairs()
    assert len(before.acts_text) == 100 and len(after.acts_text) == 20
    shutil.rmtree(store.path)
    with pytest.raises(UserError, match="is gone"):
        list(store.partitions(100)[0].iter_pairs())


def test_images_alone_have_no_partitions(model, tmp_path):
    cfg = ExtractConfig(batch_size=8, num_workers=0, text_hook=None)
    store = extract(model, noise_pairs(5), tmp_path / "s", cfg, progress=False)
    with pytest.raises(UserError, match="images alone"):
        store.partitions(2)


@pytest.mark.parametrize("row", [-1, 50, 10_000, 2.5, None, True])
def test_an_image_that_there_is_not_is_refused(store, any_types, row):
    with pytest.raises(UserError, match=r"has the images 0 to 49, not "):
        store.open_image(row)
