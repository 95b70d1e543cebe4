"""Wherever a file cannot be written, one sentence says so and nothing is left behind."""

import json
from pathlib import Path

import pytest

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path, parse_json, refuse_unwritable, write_json_atomically


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "page.html").mkdir()
    (tmp_path / "page.html" / "mine").touch()
    with pytest.raises(UserError, match=r"page\.html is a folder: give the name of a file"):
        write_json_atomically(tmp_path / "page.html", {})
    assert [path.name for path in tmp_path.rglob("*")] == ["page.html", "mine"]


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        write_json_atomically(tmp_path / "file" / "x.json", {})
    with pytest.raises(UserError, match="cannot be written"), atomic_path(tmp_path / "file") as new:
        new.mkdir()
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_json_that_is_nested_without_end_is_none():
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for text in ("[" * 100_000, '{"a":' * 100_000, "[", ""):
        with pytest.raises(json.JSONDecodeError):
            parse_json(text)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place of Linux")
@pytest.mark.parametrize("path", ["/proc/x.json", "/proc/new/x.json"])
def test_a_place_that_is_no_file_system(path):
    with pytest.raises(UserError, match=f"{path} cannot be written"):
        write_json_atomically(path, {})


def test_a_circle_of_links(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="cannot be written"):
        write_json_atomically(tmp_path / "a" / "x.json", {})


def test_a_place_is_tried_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for path in ("new.json", "new/deep/x.json", "folder/x.json", "file"):
        refuse_unwritable(tmp_path / path)
        refuse_unwritable(str(tmp_path / path), tmp_path / "folder/other")
    with pytest.raises(UserError, match=r"x\.json cannot be written \(.*file is a file, not a fol"):
        refuse_unwritable(tmp_path / "new.json", tmp_path / "file/x.json")
    with pytest.raises(UserError, match="file is a file, not a folder"):
        refuse_unwritable(tmp_path / "file/deep/x.json")
    with pytest.raises(UserError, match="folder is a folder: give the name of a file"):
        refuse_unwritable(tmp_path / "folder")
    with pytest.raises(UserError, match="File name too long"):
        refuse_unwritable(tmp_path / "a/b" / ("x" * 300) / "c.json")
    with pytest.raises(UserError, match="File name too long"):
        refuse_unwritable(tmp_path / "a/b" / ("y" * 300))
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place of Linux")
def test_rights_alone_do_not_make_a_place():
    with pytest.raises(UserError, match=r"/proc/new/x\.json cannot be written"):
        refuse_unwritable("/proc/new/x.json")
