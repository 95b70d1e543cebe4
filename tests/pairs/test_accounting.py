"""Whatever goes into a source comes out as a pair or stands in the list with its reason."""

import io
import json
import os
import tarfile

import pandas as pd
import pytest
from PIL import Image

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import load_pairs


def _png(colour="red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
                continue
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_rows_of_a_table(tmp_path, suffix):
    rows = [("0.png", "a"), ("", "no image"), ("1.png", ""), ("0.png", "b"), ("2.png", "NA")]
    frame = pd.DataFrame(rows, columns=["image", "caption"])
    path = tmp_path / f"pairs.{suffix}"
    if suffix == "parquet":
        frame.replace("", None).to_parquet(path)
    elif suffix == "jsonl":
        frame.replace("", None).to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
    source = load_pairs(path)
    assert len(source.records) + len(source.skipped) == len(rows)
    (name, reason), *_ = source.skipped
    assert name.startswith(path.name) and reason == "the column 'image' is empty"
    assert source.lost == source.skipped, "a row is meant as a pair"
    # An empty caption is a record: the image alone may be wanted.
    assert [record.caption for record in source.records] == ["a", "", "b", "NA"]


def test_lines_of_json(tmp_path):
    lines = ['{"image": "0.png", "caption": "a"}', "{broken", "[1, 2]", "", '{"caption": "b"}']
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    source = load_pairs(tmp_path / "pairs.jsonl")
    assert len(source.records) == 1
    assert [name for name, _ in source.skipped] == [f"pairs.jsonl, line {n}" for n in (2, 3, 5)]
    assert source.lost == source.skipped
    assert "not JSON" in source.skipped[0][1] and "no JSON object" in source.skipped[1][1]


def test_rows_without_an_id(tmp_path):
    frame = pd.DataFrame({"image": ["0.png", "1.png"], "caption": ["a", "b"], "id": ["", "x"]})
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    source = load_pairs(tmp_path / "pairs.csv", id_column="id")
    assert [record.image_id for record in source.records] == ["x"]
    assert source.skipped == [("pairs.csv, line 2", "the column 'id' is empty")] == source.lost


def test_files_of_a_folder(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "2023.04.05").mkdir(parents=True)
    (folder / ".hidden").write_text("")
    for name in ("0.png", "2023.04.05/beach v1.5.png", "lonely.png"):
        (folder / name).write_bytes(_png())
    (folder / "0.txt").write_text("a\nb")
    (folder / "2023.04.05" / "beach v1.5.txt").write_text("a beach")
    unused = {
        "forgotten.txt": "no image beside it",
        "phone.heic": "no image, by its name",
        "README": "no ending",
        "2023.04.05/metadata.csv": "a table",
    }
    for name in unused:
        (folder / name).write_text("x")
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    unused |= {"pipe.png": "a pipe", "gone.png": "link to nothing", "linked": "not followed"}
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).write_bytes(_png())
    unused |= {"caf\\udce9.png": "no valid Unicode"}

    source = load_pairs(folder)
    assert {record.image_id for record in source.records} == {
        "0.png",
        "2023.04.05/beach v1.5.png",
        "lonely.png",
    }
    assert [r.caption for r in source.records if r.image_id != "lonely.png"] == [
        "a",
        "b",
        "a beach",
    ]
    listed = dict(source.skipped)
    assert listed.keys() == unused.keys()
    assert all(unused[name] in reason for name, reason in listed.items())
    # Images that are none were meant as pairs; what is no image need not have been.
    assert {name for name, _ in source.lost} == {"pipe.png", "gone.png", "caf\\udce9.png"}


def test_a_second_table_of_a_folder_is_listed(tmp_path):
    for name in ("captions.csv", "metadata.csv"):
        (tmp_path / name).write_text("image,caption\n0.png,a\n")
    source = load_pairs(tmp_path)
    assert source.skipped == [("metadata.csv", "captions.csv lists the pairs of this folder")]
    assert not source.lost


def _by_id(source):
    return {record.image_id: record.caption for record in source.records}


def test_names_with_dots_in_a_shard(tmp_path):
    names = ["img_0001", "img_0002 v1.5", "2023.04.05 beach", "a.b/c.d", "v1.0"]
    files = [
        (f"{name}.{suffix}", data)
        for name in names
        for suffix, data in (("png", _png()), ("txt", name.encode()))
    ]
    source = load_pairs(_tar(tmp_path / "s.tar", files))
    assert _by_id(source) == {f"s.tar/{name}": name for name in names}
    assert not source.skipped


def test_members_that_are_not_neighbours(tmp_path):
    images = [(f"{i}.png", _png()) for i in range(3)]
    texts = [(f"{i}.txt", f"caption {i}".encode()) for i in (2, 0, 1)]
    source = load_pairs(_tar(tmp_path / "s.tar", [*images, *texts]))
    assert _by_id(source) == {f"s.tar/{i}": f"caption {i}" for i in range(3)}


def test_one_name_for_several_samples(tmp_path):
    files = []
    for colour in ("red", "blue"):
        files += [("0.png", _png(colour)), ("0.txt", colour.encode())]
    source = load_pairs(_tar(tmp_path / "s.tar", files))
    assert _by_id(source) == {"s.tar/0": "red", "s.tar/0#2": "blue"}
    pixels = {r.caption: source.open_image(r.image_key).getpixel((0, 0)) for r in source.records}
    assert pixels == {"red": (255, 0, 0), "blue": (0, 0, 255)}


def test_members_that_cannot_be_told_apart_are_listed_and_never_guessed(tmp_path):
    files = [("0.png", _png()), ("0.png", _png("blue")), ("0.txt", b"a"), ("0.txt", b"b")]
    files += [("1.png", _png()), ("1.txt", b"c")]
    source = load_pairs(_tar(tmp_path / "s.tar", files))
    assert _by_id(source) == {"s.tar/1": "c"}
    listed = sorted(name for name, _ in source.skipped)
    assert listed == ["s.tar/0.png"] * 2 + ["s.tar/0.txt"] * 2
    assert all("cannot be told" in reason for _, reason in source.skipped)
    assert [name for name, _ in source.lost] == ["s.tar/0.png"] * 2


def test_members_of_a_shard(tmp_path):
    described = json.dumps({"place": "here"}).encode()
    files = [
        ("0.png", _png()),
        ("0.txt", b"a"),
        ("0.json", described),
        ("0.mask.png", _png()),
        ("1.left.png", _png()),
        ("1.right.png", _png()),
        ("1.txt", b"two views"),
        ("alone.txt", b"no image"),
        ("README", b"words"),
        ("link.png", "0.png"),
        ("2.png", _png()),
        ("2.json", b"{broken"),
    ]
    source = load_pairs(_tar(tmp_path / "s.tar", files))
    assert _by_id(source) == {"s.tar/0": "a", "s.tar/1": "two views", "s.tar/2": ""}
    assert "2.json is not JSON" in (source.records[-1].fault or "")
    used = {"0.png", "0.txt", "0.json", "1.left.png", "1.txt", "2.png", "2.json"}
    listed = {name.removeprefix("s.tar/") for name, _ in source.skipped}
    assert used | listed == {name for name, _ in files} and not used & listed
    reasons = {name.removeprefix("s.tar/"): reason for name, reason in source.skipped}
    assert "0.png is used" in reasons["0.mask.png"]
    assert reasons["link.png"] == "the member is a link, not a regular file"
    assert "no image" in reasons["alone.txt"] and "no image" in reasons["README"]
    assert [name for name, _ in source.lost] == ["s.tar/alone.txt"]


def test_captions_of_a_shard_without_their_image_are_one_pair_each(tmp_path):
    files = [("0.png", _png()), ("0.txt", b"a"), ("1.txt", b"b"), ("1.json", b"{}")]
    files += [("2.json", b'{"caption": "c"}'), ("classes.json", b'{"names": ["cat"]}')]
    source = load_pairs(_tar(tmp_path / "s.tar", [*files, ("empty.txt", b"")]))
    assert [name for name, _ in source.lost] == ["s.tar/1.txt", "s.tar/2.json"]
    assert len(source.skipped) == 5


def test_ids_and_images_of_a_shard_by_name(tmp_path):
    files = []
    for number, identity in enumerate(["x", "y", None]):
        content = json.dumps({"id": identity, "caption": f"caption {number}"}).encode()
        files += [(f"{number}.{side}.png", _png(c)) for side, c in (("l", "red"), ("r", "blue"))]
        files.append((f"{number}.json", content))
    path = _tar(tmp_path / "s.tar", files)
    source = load_pairs(path, image_column="r.png", id_column="id")
    assert _by_id(source) == {"x": "caption 0", "y": "caption 1"}
    assert source.open_image(source.records[0].image_key).getpixel((0, 0)) == (0, 0, 255)
    assert ("s.tar/2.r.png", "its .json file has no 'id'") in source.skipped
    assert [name for name, _ in source.lost] == ["s.tar/2.r.png"]
    with pytest.raises(UserError, match=r"has 'none'"):
        load_pairs(path, id_column="none")
    with pytest.raises(UserError, match=r"has 'none'"):
        load_pairs(path, label_columns=["none"])


def _dataset(folder, rows, kind=None):
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "id": datasets.Value("string"),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    dataset = datasets.Dataset.from_dict(rows, features=features)
    if kind:
        dataset.set_format(kind, columns=["caption"] if kind == "numpy" else None)
    dataset.save_to_disk(folder)
    return f"hf:{folder}"


def _rows():
    return {
        "image": [{"bytes": _png(c), "path": None} for c in ("red", "blue", "red", "red")],
        "caption": ["a", None, "c", "d"],
        "id": ["x", "y", "x", None],
        "kind": [0, 1, -1, 0],
    }


@pytest.mark.parametrize("kind", [None, "numpy", "torch", "pandas", "arrow"])
def test_rows_of_a_data_set_in_any_format(tmp_path, kind):
    spec = _dataset(tmp_path / "ds", _rows(), kind)
    source = load_pairs(spec, id_column="id", label_columns=["kind"])
    assert len(source.records) + len(source.skipped) == 4
    assert [(r.image_id, r.caption, r.labels) for r in source.records] == [
        ("x", "a", {"kind": "cat"}),
        ("y", "", {"kind": "dog"}),
        ("x", "c", {"kind": ""}),
    ]
    assert source.skipped == [("row 3", "the column 'id' is empty")] == source.lost
    assert source.open_image(1).getpixel((0, 0)) == (0, 0, 255)
    assert [r.caption for r in load_pairs(spec, caption_column="kind").records] == [
        "cat",
        "dog",
        "",
        "cat",
    ]


def test_one_id_for_two_images_of_a_data_set_is_refused(tmp_path):
    rows = _rows() | {"id": ["x", "x", "y", "z"]}
    spec = _dataset(tmp_path / "ds", rows)
    with pytest.raises(UserError, match=r"'x' names two images, those of rows 0 and 1"):
        load_pairs(spec, id_column="id")
    assert len(load_pairs(spec).records) == 4


def test_a_source_of_which_nothing_is_left_says_why(tmp_path):
    _tar(tmp_path / "s.tar", [("alone.txt", b"a")])
    with pytest.raises(UserError, match=r"holds no image–caption pairs; s\.tar/alone\.txt: "):
        load_pairs(tmp_path / "s.tar")


def test_images_that_the_table_of_a_folder_does_not_name_are_listed(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("0.png", "sub/1.png", "sub/2.PNG", "3.png"):
        (tmp_path / name).write_bytes(_png())
    rows = ["image,caption", "./0.png,a", f"{tmp_path}/sub/1.png,b", "0.png,c"]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    source = load_pairs(tmp_path)
    assert [record.caption for record in source.records] == ["a", "b", "c"]
    reason = "no pair of captions.csv shows it"
    assert source.skipped == [("3.png", reason), ("sub/2.PNG", reason)]
    assert not source.lost
    assert source.open_image(source.records[1].image_key).size == (4, 4)


def test_captions_beside_images_whatever_their_case(tmp_path):
    for name in ("IMG_1.JPG", "both.png"):
        (tmp_path / name).write_bytes(_png())
    (tmp_path / "IMG_1.TXT").write_text("of a camera")
    for name in ("both.TXT", "both.txt"):
        (tmp_path / name).write_text(name)
    source = load_pairs(tmp_path)
    assert _by_id(source) == {"IMG_1.JPG": "of a camera", "both.png": "both.txt"}
    assert [name for name, _ in source.skipped] == ["both.TXT"]


def test_a_caption_beside_an_image_that_is_no_file_is_listed_and_never_waited_for(tmp_path):
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(_png())
    os.mkfifo(tmp_path / "0.txt")
    (tmp_path / "1.txt").symlink_to(tmp_path / "nowhere")
    faults = [record.fault or "" for record in load_pairs(tmp_path).records]
    assert "0.txt cannot be read: a pipe" in faults[0]
    assert "1.txt cannot be read: a link to nothing" in faults[1]


def test_rows_of_a_data_set_without_an_image_do_not_name_another(tmp_path):
    image = {"bytes": _png(), "path": None}
    rows = _rows() | {"image": [image, None, None, None], "id": ["x", "x", "y", "y"]}
    source = load_pairs(_dataset(tmp_path / "ds", rows), id_column="id")
    # The first row of "y" is listed when its picture is opened, as one of any file is.
    assert [(r.image_key, r.image_id) for r in source.records] == [(0, "x"), (2, "y")]
    assert source.skipped == [
        ("row 1", "it holds no image, and row 0 has its id"),
        ("row 3", "it holds no image, and row 2 has its id"),
    ]


def test_further_captions_and_descriptions_of_another_shape_are_listed(tmp_path):
    files = [("0.png", _png()), ("0.txt", b"a"), ("0.caption", b"b"), ("1.png", _png())]
    source = load_pairs(_tar(tmp_path / "s.tar", [*files, ("1.json", b'["a"]')]))
    assert _by_id(source) == {"s.tar/0": "a", "s.tar/1": ""}
    assert source.records[1].fault == "1.json is no JSON object with names and values"
    assert source.skipped == [
        ("s.tar/0.caption", "its sample has several captions, of which 0.txt is used")
    ]
    named = load_pairs(tmp_path / "s.tar", caption_column="caption")
    assert _by_id(named)["s.tar/0"] == "b" and not named.skipped
