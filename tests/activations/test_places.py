"""Folders that may not be written, and settings that mean nothing, are one line each."""

import errno
import os
from pathlib import Path

import pytest
import torch

from mm_sae_plugin import files
from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from tests.activations.pictures import noise_pairs

CFG = ExtractConfig(batch_size=8, shard_size=16, num_workers=0)


@pytest.fixture
def read_only(monkeypatch):
    """Refuse all writing, as a read-only file system does; permissions do not stop root."""

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "unlink", "write_text", "write_bytes", "touch"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(files.os, "replace", refuse)


def test_a_new_store_in_a_read_only_folder(model, tmp_path, read_only):
    with pytest.raises(UserError, match=r"cannot be written \(Read-only.*another folder"):
        extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False)
    assert not (tmp_path / "s").exists()


def test_a_store_below_a_file(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        extract(model, noise_pairs(4), tmp_path / "file" / "s", CFG, progress=False)
    with pytest.raises(UserError, match="cannot be written"):
        extract(model, noise_pairs(4), tmp_path / ("s" * 300), CFG, progress=False)


def test_a_store_in_a_read_only_folder_is_read_as_any(model, tmp_path, request):
    made = extract(model, noise_pairs(40), tmp_path / "s", CFG, progress=False)
    expected = made.text_rows()
    os.chmod(tmp_path / "s", 0o500)
    request.getfixturevalue("read_only")
    store = ActivationStore.open(tmp_path / "s")
    assert torch.equal(store.text_rows(), expected)
    assert len(list(store.iter_pairs(7))) == 6 and store.image_rows().shape[0] == 40
    again = extract(model, noise_pairs(40), tmp_path / "s", CFG, progress=False)
    assert again.manifest == made.manifest
    os.chmod(tmp_path / "s", 0o700)


def test_a_damaged_store_in_a_read_only_folder(model, tmp_path, request):
    store = extract(model, noise_pairs(40), tmp_path / "s", CFG, progress=False)
    (tmp_path / "s" / store.manifest.shards[0].file).unlink()
    request.getfixturevalue("read_only")
    with pytest.raises(UserError, match="cannot be written"):
        extract(model, noise_pairs(40), tmp_path / "s", CFG, progress=False)


def test_a_folder_that_may_not_be_looked_into(model, tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied"):
        ActivationStore.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(dtype="float12"), "no dtype 'float12': give one of float32, float16, bfloat16"),
        (dict(dtype="int8"), "no dtype 'int8'"),
        (dict(dtype=None), "no dtype None"),
        (dict(model_dtype="half"), "no model_dtype 'half'"),
        (dict(token_mode="first"), "no token_mode 'first': give one of cls, all"),
    ],
)
def test_settings_that_mean_nothing(changes, message):
    cfg = ExtractConfig()
    # Past the types, which are checked when the suite runs and not when a script does.
    for name, value in changes.items():
        object.__setattr__(cfg, name, value)
    with pytest.raises(UserError, match=message):
        cfg.__post_init__()


def test_a_device_that_is_not_there_leaves_no_folder(model, tmp_path):
    for device in ("cuda", "cuda:99", "mps", "xpu", "gpu", "toaster"):
        if device == "cuda" and torch.cuda.is_available():
            continue
        cfg = ExtractConfig(num_workers=0, device=device)
        with pytest.raises(UserError):
            extract(model, noise_pairs(4), tmp_path / "s", cfg, progress=False)
        assert not (tmp_path / "s").exists()


def test_a_hook_that_does_not_fire_is_one_line(model, tmp_path, monkeypatch):
    monkeypatch.setattr(type(model), "forward", lambda self, **inputs: (None, None))
    with pytest.raises(UserError, match=r"'vision.hook_normalized' did not fire while tiny ran"):
        extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place of Linux")
def test_a_place_that_is_no_file_system(model):
    with pytest.raises(UserError, match=r"/proc/acts.* cannot be written \(No such file"):
        extract(model, noise_pairs(4), "/proc/acts", CFG, progress=False)
