"""Whatever stops an extraction, nothing is lost, and the end is as if nothing had happened."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import active_children, current_process

import pytest
import torch

from mm_sae_plugin import files
from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.activations.shards import write_tensors
from mm_sae_plugin.errors import Terminated, UserError
from tests.activations.pictures import NoiseOpener, noise_pairs, tokenize
from tests.activations.tiny import tiny_clip

CFG = ExtractConfig(batch_size=8, shard_size=16, num_workers=0, max_skipped=1.0)


def _content(store):
    metadata = (store.captions, store.image_ids, store.labels, store.manifest.skipped)
    return store.image_rows().tolist(), store.text_rows().tolist(), metadata


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_skipped_counted_and_listed(model, tmp_path, workers):
    cfg = ExtractConfig(batch_size=8, num_workers=workers, max_skipped=1.0)
    source = noise_pairs(40, captions_each=2, missing=frozenset({0, 5, 39, *range(16, 24)}))
    store = extract(model, source, tmp_path / "s", cfg)
    assert (store.manifest.n_images, store.manifest.n_pairs) == (29, 58)
    assert store.manifest.skipped[1] == ("id-5", "it is missing")
    assert len(store.manifest.skipped) == 11
    kept = [i for i in range(40) if f"id-{i}" in set(store.image_ids)]
    whole = extract(model, noise_pairs(40, captions_each=2), tmp_path / "whole", cfg)
    torch.testing.assert_close(store.image_rows(), whole.image_rows()[kept])
    assert store.image_index.tolist() == [i for i in range(29) for _ in range(2)]


def test_strict_stops_at_the_first_and_keeps_what_was_done(model, tmp_path):
    cfg = ExtractConfig(batch_size=8, shard_size=16, num_workers=0, strict=True)
    with pytest.raises(UserError, match="id-33: it is missing"):
        extract(model, noise_pairs(40, missing=frozenset({33})), tmp_path / "s", cfg)
    assert json.loads((tmp_path / "s" / "progress.json").read_text())["n_done"] == 32
    # Mended, it goes on.
    assert extract(model, noise_pairs(40), tmp_path / "s", cfg).manifest.n_images == 40


def test_nothing_usable_is_an_error_and_not_a_memory(model, tmp_path):
    source = noise_pairs(10, missing=frozenset(range(10)))
    with pytest.raises(UserError, match=r"None of the 10 images.*id-0: it is missing"):
        extract(model, source, tmp_path / "s", CFG)
    assert extract(model, noise_pairs(10), tmp_path / "s", CFG).manifest.n_images == 10


def test_empty_captions_are_skipped(model, tmp_path):
    silent = {"image 3 said 0": "", "image 3 said 1": " ", "image 5 said 1": ""}
    source = noise_pairs(10, captions_each=2, captions=silent)
    store = extract(model, source, tmp_path / "s", CFG)
    # Image 3 has no caption left and cannot be paired; image 5 has one.
    assert "id-3" not in store.image_ids and "id-5" in store.image_ids
    assert store.manifest.n_pairs == 17
    assert [name for name, _ in store.manifest.skipped] == ["id-3", "id-3", "id-5"]
    assert torch.equal(torch.bincount(store.image_index), torch.tensor([2, 2, 2, 2, 1, 2, 2, 2, 2]))


def test_rows_that_are_not_finite_are_refused(tmp_path):
    model = tiny_clip()
    words = ["one", "two", "six", "ten", "dog", "cat", "sun", "sea"]
    captions = {f"image {i} said 0": words[i % 8] for i in range(16)}
    poisoned = tokenize(words)[5, 0]
    with torch.no_grad():
        model.clip.get_parameter("token_embedding.weight")[poisoned] = float("nan")
    store = extract(model, noise_pairs(16, captions=captions), tmp_path / "s", CFG)
    assert torch.isfinite(store.text_rows()).all()
    assert {name for name, _ in store.manifest.skipped} >= {"id-5", "id-13"}
    assert "not finite for the caption 'cat'" in dict(store.manifest.skipped)["id-5"]


def test_a_shard_with_numbers_that_are_not_finite_is_never_written(tmp_path):
    for bad in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="not finite"):
            write_tensors(tmp_path / "x.safetensors", {"rows": torch.tensor([[1.0, bad]])})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", [0, 9, 35, 49])
def test_interrupted_extraction_goes_on_to_the_same_end(model, tmp_path, at):
    pairs = partial(noise_pairs, 50, captions_each=2, missing=frozenset({2, 30}))
    whole = extract(model, pairs(), tmp_path / "whole", CFG)
    with pytest.raises(KeyboardInterrupt, match=f"{at // 8 * 8} of 50 images.*run the same"):
        extract(model, pairs(interrupt_at=at), tmp_path / "s", CFG)
    with pytest.raises(UserError, match="not finished"):
        ActivationStore.open(tmp_path / "s")
    log = tmp_path / "log"
    resumed = extract(model, pairs(log=str(log)), tmp_path / "s", CFG)
    assert _content(resumed) == _content(whole)
    # Only what was not finished is done again, and what was missing is tried again.
    opened = [int(image) for image in log.read_text().split()]
    assert next(image for image in opened if image not in (2, 30)) == at // 8 * 8


def test_a_complete_store_is_returned_as_it_is(model, tmp_path):
    extract(model, noise_pairs(10), tmp_path / "s", CFG)
    log = tmp_path / "log"
    again = extract(model, noise_pairs(10, log=str(log)), tmp_path / "s", CFG)
    assert again.manifest.n_images == 10 and not log.exists()


def test_other_content_in_the_folder_is_never_overwritten(model, tmp_path):
    extract(model, noise_pairs(10), tmp_path / "s", CFG)
    before = {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    with pytest.raises(UserError, match=r"weights_id 'sha256:.*there, 'sha256:.*now"):
        extract(tiny_clip(seed=1), noise_pairs(10), tmp_path / "s", CFG)
    with pytest.raises(UserError, match=r"fingerprint 'noise' there, 'more' now"):
        extract(model, noise_pairs(10, fingerprint="more"), tmp_path / "s", CFG)
    assert before == {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}


def test_a_folder_of_something_else_is_never_touched(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        extract(model, noise_pairs(4), tmp_path, CFG)
    with pytest.raises(UserError, match="is a file"):
        extract(model, noise_pairs(4), tmp_path / "thesis.txt", CFG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_damage_is_mended_by_the_same_command(model, tmp_path):
    store = extract(model, noise_pairs(50), tmp_path / "s", CFG)
    expected = _content(store)
    damaged = tmp_path / "s" / store.manifest.shards[1].file
    damaged.write_bytes(damaged.read_bytes()[:-10])
    log = tmp_path / "log"
    mended = extract(model, noise_pairs(50, log=str(log)), tmp_path / "s", CFG)
    assert _content(mended) == expected
    assert int(log.read_text().split()[0]) == store.manifest.shards[1].start


@pytest.mark.parametrize("n_before", [0, 1, 3, 5, 8])
def test_full_disk_leaves_a_folder_that_goes_on(model, tmp_path, monkeypatch, n_before):
    whole = extract(model, noise_pairs(50), tmp_path / "whole", CFG)
    writes = iter(range(1000))
    replace = os.replace

    def fill_up(*args):
        if next(writes) >= n_before:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*args)

    monkeypatch.setattr(files.os, "replace", fill_up)
    with pytest.raises(UserError, match="disk is full"):
        extract(model, noise_pairs(50), tmp_path / "s", CFG)
    monkeypatch.undo()
    assert _content(extract(model, noise_pairs(50), tmp_path / "s", CFG)) == _content(whole)
    assert not [p for p in (tmp_path / "s").iterdir() if p.name.endswith(".partial")]


@dataclass(frozen=True)
class SlowOpener(NoiseOpener):
    """Takes its time, so that there is something to interrupt."""

    def open_image(self, image_key):
        time.sleep(0.005)
        return super().open_image(image_key)


def test_workers_that_the_parent_has_left_say_nothing():
    # As multiprocessing does where a picture can be handed to nobody, which is a matter of luck.
    left = (
        "import sys; from mm_sae_plugin.activations import decoding; "
        "decoding._leave_interrupts_to_the_parent(0); sys.excepthook(OSError, OSError(), None)"
    )
    done = subprocess.run([sys.executable, "-c", left], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_with_workers_says_nothing_but_the_line(model, tmp_path, capfd, number, raised):
    out = tmp_path / "s"
    source = replace(noise_pairs(400), opener=SlowOpener())
    cfg = ExtractConfig(batch_size=8, shard_size=16, num_workers=2)

    def send():
        deadline = time.time() + 30
        while not (out / "shard-00000.safetensors").exists() and time.time() < deadline:
            time.sleep(0.005)
        # As terminals and schedulers do: to the command and to every process it started.
        for process in (*active_children(), current_process()):
            assert process.pid
            os.kill(process.pid, number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(raised, match=r"\d+ of 400 images are kept.*run the same command"):
        extract(model, source, out, cfg, progress=False)
    thread.join()
    assert not active_children()
    assert capfd.readouterr() == ("", "")
    assert 16 <= json.loads((out / "progress.json").read_text())["n_done"] < 400
    whole = extract(model, noise_pairs(400), tmp_path / "whole", CFG, progress=False)
    assert _content(extract(model, noise_pairs(400), out, CFG, progress=False)) == _content(whole)
