"""A table of one's own pictures: what is read of it, and one sentence for what cannot be."""

import json

import pytest
from PIL import Image

from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.applications.defense.own_task import PictureFiles, read_task
from mm_sae_plugin.errors import UserError
from tests.applications.bias.faces import write_table

CLASSES = ("stop_sign", "tree")


@pytest.fixture
def rows(tmp_path):
    """Ten rows whose pictures are told apart by their grey."""
    (tmp_path / "photos").mkdir()
    for index in range(10):
        Image.new("RGB", (9, 7), (20 * index,) * 3).save(tmp_path / f"photos/{index}.png")
    return [{"image": f"photos/{i}.png", "label": CLASSES[i % 2], "note": ""} for i in range(10)]


@pytest.fixture
def table(rows, tmp_path):
    return write_table(tmp_path / "signs.csv", rows)


def written(tmp_path, rows, suffix):
    path = tmp_path / f"other{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    return write_table(path, rows)


def grey_of(picture):
    return picture.convert("L").tobytes()[0]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_pictures_and_labels_stay_together_whatever_the_table_is(rows, tmp_path, suffix):
    task = read_task(written(tmp_path, rows, suffix))
    assert task.name == "other" and task.labels == CLASSES * 5
    assert task.indices.tolist() == [0, 1] * 5
    assert [grey_of(picture) for picture in task.pictures] == list(range(0, 200, 20))
    assert [len(task.pictures), len(task.pictures[2:5])] == [10, 3]
    assert task.pictures[2:5][1].getpixel((0, 0)) == (60, 60, 60)


def test_rows_are_drawn_with_their_labels(rows, table):
    whole, few = read_task(table), read_task(table, n=5, seed=1)
    numbers = [grey_of(picture) // 20 for picture in few.pictures]
    assert len(set(numbers)) == 5 and numbers == sorted(numbers) != list(range(5))
    assert few.labels == tuple(rows[number]["label"] for number in numbers)
    assert read_task(table, n=5, seed=1).pictures == few.pictures
    assert any(read_task(table, n=5, seed=seed).pictures != few.pictures for seed in (2, 3, 4))
    for n in (10, 11):
        assert read_task(table, n=n).pictures == whole.pictures
    # A class that is not drawn stays one that an attack can turn a picture into.
    assert read_task(table, n=1).prompts == whole.prompts


def test_prompts_name_the_classes_without_underscores(table):
    assert read_task(table).prompts == {
        "stop_sign": ["a photo of a stop sign", "a picture of a stop sign"],
        "tree": ["a photo of a tree", "a picture of a tree"],
    }


def test_prompts_of_ones_own_rule_the_order_and_may_know_more_classes(table):
    words = {"tree": ("oak", "fir"), "dog": ("dog",), "stop_sign": ("red octagon",)}
    task = read_task(table, prompts=PromptSet(("one {}",), words))
    assert list(task.prompts) == list(words) and task.prompts["tree"] == ["one oak", "one fir"]
    assert task.indices.tolist() == [2, 0] * 5
    with pytest.raises(
        UserError, match="label 'stop_sign' of the task 'signs' has no prompt: choose from tree, do"
    ):
        read_task(table, prompts=PromptSet(("{}",), {"tree": ("oak",), "dog": ("dog",)}))


def test_columns_and_a_folder_of_ones_own(rows, tmp_path):
    named = [
        {"where": row["image"][7:], "file_name": row["image"], "y": i % 2}
        for i, row in enumerate(rows)
    ]
    table = write_table(tmp_path / "named.csv", named)
    task = read_task(table, "y", "where", tmp_path / "photos")
    assert task.labels == ("0", "1") * 5 and task.pictures[3].getpixel((0, 0)) == (60, 60, 60)
    assert read_task(table, "y").pictures[3].getpixel((0, 0)) == (60, 60, 60)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ("class",),
            "signs.csv has no column 'class': name one of image, label, note with --label",
        ),
        (("label", "path"), "no column 'path': name one of image, label, note with --image-col"),
    ],
)
def test_columns_that_there_are_not(table, given, told):
    with pytest.raises(UserError, match=told):
        read_task(table, *given)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize(("column", "missing"), [("label", "label"), ("image", "picture")])
def test_a_row_without_a_cell_is_named_by_its_line(rows, tmp_path, suffix, column, missing):
    rows[3][column] = " "
    # Names of columns are a line of their own, but in JSON.
    line = 4 if suffix == ".jsonl" else 5
    with pytest.raises(UserError, match=f"other{suffix}, line {line}, has no {missing}: give one"):
        read_task(written(tmp_path, rows, suffix))


def test_rows_without_a_label_are_counted(rows, tmp_path):
    rows[3]["label"] = rows[5]["label"] = ""
    with pytest.raises(UserError, match=r"line 5, has no label \(2 rows have none\): give one"):
        read_task(written(tmp_path, rows, ".csv"))


def test_pictures_that_a_tower_knows_are_left_out(table, tmp_path):
    whole = read_task(table)
    known = files(read_task(table, n=len(whole.labels) // 2))
    others = read_task(table, without=known.keys)
    assert set(files(others).paths) == set(files(whole).paths) - set(known.paths)
    assert list(others.prompts) == list(whole.prompts)
    # The same files, wherever the paths start.
    again = read_task(table, images_dir=tmp_path / "photos" / "..", without=known.keys)
    assert again.labels == others.labels
    few = read_task(table, n=2, without=known.keys)
    assert set(files(few).paths) < set(files(others).paths)
    with pytest.raises(UserError, match=r"trained on every picture of .*train on fewer of them"):
        read_task(table, without=files(whole).keys)


def files(task) -> PictureFiles:
    assert isinstance(task.pictures, PictureFiles)
    return task.pictures


def test_a_key_that_one_line_of_json_lacks(rows, tmp_path):
    del rows[2]["label"]
    with pytest.raises(UserError, match="line 3, has no label"):
        read_task(written(tmp_path, rows, ".jsonl"))


def test_a_line_that_is_no_json_is_named(rows, tmp_path):
    table = written(tmp_path, rows, ".jsonl")
    table.write_text(table.read_text() + "{\n[1]\n")
    with pytest.raises(UserError, match=r"line 11, is no row: it is not JSON .*take the line out"):
        read_task(table)


def test_tables_that_hold_no_task(rows, tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("image,label\n")
    with pytest.raises(UserError, match=r"empty\.csv has no rows: give pictures with their labels"):
        read_task(empty)
    one = write_table(tmp_path / "one.csv", rows[::2])
    with pytest.raises(UserError, match="'one' has one class only: an attack needs another"):
        read_task(one)
    with pytest.raises(UserError, match=r"no file .*gone\.csv"):
        read_task(tmp_path / "gone.csv")


@pytest.mark.parametrize("content", [b"no picture", b"", None])
def test_a_picture_that_is_none_is_named_when_it_is_opened(any_types, table, tmp_path, content):
    # `any_types`, since a check of types would open one of the pictures.
    broken = tmp_path / "photos/4.png"
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content)
    task = read_task(table)
    assert task.pictures[3].size == (9, 7)
    with pytest.raises(UserError, match=r"picture 'photos/4\.png' cannot be read: .*take its row"):
        list(task.pictures)


def test_no_picture_is_opened_before_it_is_asked_for(table, tmp_path):
    # One unreadable picture among ten: nothing that only describes a task may stumble on it, and
    # a check of annotations that looks at one of the elements would, now and then.
    (tmp_path / "photos/3.png").write_text("no picture")
    for _ in range(50):
        task = read_task(table)
        assert len(task.pictures) == len(task.indices) == 10
    with pytest.raises(UserError, match=r"photos/3\.png' cannot be read"):
        list(task.pictures)
