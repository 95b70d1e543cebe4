"""Every kind of source lists the same pairs and opens the same pictures."""

import io
import json
import pickle
import tarfile

import pandas as pd
import pytest
from PIL import Image

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import PairSource, load_pairs, open_images

COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}
CAPTIONS = {name: f"a {name} square" for name in COLOURS}


def _png(colour) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name, colour in COLOURS.items():
        (tmp_path / "images" / f"{name}.png").write_bytes(_png(colour))
    return tmp_path


def _frame(**more):
    rows = {"image": [f"images/{n}.png" for n in COLOURS], "caption": list(CAPTIONS.values())}
    return pd.DataFrame(rows | more)


def _write_shard(path, names, as_json=False):
    with tarfile.open(path, "w") as tar:
        for name in names:
            text = (
                json.dumps({"text": CAPTIONS[name], "place": "here"}) if as_json else CAPTIONS[name]
            )
            suffix = "json" if as_json else "txt"
            for file, data in ((f"{name}.png", _png(COLOURS[name])), (f"{name}.{suffix}", text)):
                data = data.encode() if isinstance(data, str) else data
                info = tarfile.TarInfo(file)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _csv(folder):
    _frame().to_csv(folder / "pairs.csv", index=False)
    return folder / "pairs.csv", {}


def _tsv_with_other_names(folder):
    frame = _frame().rename(columns={"image": "file", "caption": "text"})
    frame.to_csv(folder / "pairs.tsv", index=False, sep="\t")
    return folder / "pairs.tsv", dict(image_column="file", caption_column="text")


def _parquet(folder):
    _frame().to_parquet(folder / "pairs.parquet")
    return folder / "pairs.parquet", {}


def _folder_with_table(folder):
    _frame().to_csv(folder / "captions.csv", index=False)
    return folder, {}


def _folder_with_texts(folder):
    for name, caption in CAPTIONS.items():
        (folder / "images" / f"{name}.txt").write_text(caption)
    return folder, {}


def _shards(folder):
    _write_shard(folder / "s-000.tar", ["red", "green"])
    _write_shard(folder / "s-001.tar", ["blue"])
    return folder / "s-{000..001}.tar", {}


def _json_shard(folder):
    _write_shard(folder / "s.tar", list(COLOURS), as_json=True)
    return folder / "*.tar", dict(caption_column="text", label_columns=["place"])


def _saved_dataset(folder):
    import datasets

    images = [{"bytes": _png(colour), "path": None} for colour in COLOURS.values()]
    rows = {"image": images, "caption": list(CAPTIONS.values())}
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    dataset = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"val": dataset}).save_to_disk(folder / "ds")
    return f"hf:{folder / 'ds'}:val", {}


KINDS = [
    _csv,
    _tsv_with_other_names,
    _parquet,
    _folder_with_table,
    _folder_with_texts,
    _shards,
    _json_shard,
    _saved_dataset,
]


@pytest.mark.parametrize("make", KINDS, ids=lambda f: f.__name__.strip("_"))
def test_every_kind_of_source_gives_the_same_pairs(folder, make, monkeypatch):
    spec, columns = make(folder)
    source = load_pairs(spec, **columns)
    assert isinstance(source, PairSource)

    def colours(opener):
        keys = {record.caption: record.image_key for record in source.records}
        return {c: opener.open_image(key).getpixel((0, 0)) for c, key in keys.items()}

    expected = {CAPTIONS[name]: colour for name, colour in COLOURS.items()}
    assert colours(source) == expected
    # What travels to a worker process works there by itself.
    assert colours(pickle.loads(pickle.dumps(source.opener))) == expected
    # The spec opens it again from anywhere, as reports do.
    again = load_pairs(source.spec, **columns)
    assert again.fingerprint == source.fingerprint
    assert list(again.records) == list(source.records)
    monkeypatch.chdir("/")
    assert colours(open_images(source.spec, source.image_column)) == expected


@pytest.mark.parametrize("make", KINDS, ids=lambda f: f.__name__.strip("_"))
def test_another_caption_is_another_source(folder, make, monkeypatch):
    spec, columns = make(folder)
    before = load_pairs(spec, **columns).fingerprint
    monkeypatch.setitem(CAPTIONS, "red", "something else")
    if make is _saved_dataset:
        import shutil

        shutil.rmtree(folder / "ds")
    make(folder)
    assert load_pairs(spec, **columns).fingerprint != before


def test_world_source_is_the_world():
    from mm_sae_plugin.factorworld import FactorWorld

    source = load_pairs("factorworld:5:3")
    pair = FactorWorld(seed=3).pair(2)
    record = source.records[2]
    assert (record.caption, record.labels) == (pair.caption, pair.labels)
    assert source.open_image(record.image_key).tobytes() == pair.image.tobytes()
    assert len(list(source.records)) == 5
    assert load_pairs("factorworld:5").fingerprint != source.fingerprint


@pytest.mark.parametrize("numbers", ["", ":", ":0", ":a:1", ":1:2:3"])
def test_wrong_world_is_refused(numbers):
    with pytest.raises(UserError, match="factorworld:N"):
        load_pairs("factorworld" + numbers)


def test_labels_ids_and_factors_of_a_table(folder):
    frame = _frame(id=["a", "b", "c"], place=["x", "y", "z"], **{"drawn.size": ["s", "", "l"]})
    frame.to_csv(folder / "pairs.csv", index=False)
    source = load_pairs(folder / "pairs.csv", id_column="id", label_columns=["place"])
    assert [r.image_id for r in source.records] == ["a", "b", "c"]
    assert source.records[0].labels == {"place": "x", "drawn.size": "s"}


def test_text_of_a_table_is_left_as_it_is(folder):
    _frame(caption=["NA", "007", 'say "hi", twice']).to_csv(folder / "pairs.csv", index=False)
    captions = [r.caption for r in load_pairs(folder / "pairs.csv").records]
    assert captions == ["NA", "007", 'say "hi", twice']


def test_two_spellings_of_a_path_are_one_image(folder):
    _frame(image=["images/red.png", "./images/red.png", "images//red.png"]).to_csv(
        folder / "pairs.csv", index=False
    )
    assert len({r.image_key for r in load_pairs(folder / "pairs.csv").records}) == 1


def test_one_id_for_two_images_is_refused(folder):
    _frame(id=["a", "a", "b"]).to_csv(folder / "pairs.csv", index=False)
    with pytest.raises(UserError, match="'a' names two images"):
        load_pairs(folder / "pairs.csv", id_column="id")


def test_missing_column_names_the_columns(folder):
    _frame().to_csv(folder / "pairs.csv", index=False)
    with pytest.raises(UserError, match=r"no column 'file'.*'image', 'caption'"):
        load_pairs(folder / "pairs.csv", image_column="file")


def test_missing_column_of_a_dataset(folder):
    spec, _ = _saved_dataset(folder)
    with pytest.raises(UserError, match=r"no column 'text'.*'image', 'caption'"):
        load_pairs(spec, caption_column="text")
    with pytest.raises(UserError, match=r"no split 'train'.*val"):
        load_pairs(spec.replace(":val", ":train"))


@pytest.mark.parametrize("content", ["", "image,caption\n"])
def test_empty_table_is_refused(tmp_path, content):
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(UserError, match=r"pairs\.csv (is empty|holds no)"):
        load_pairs(tmp_path / "pairs.csv")


def test_missing_sources_are_named(tmp_path):
    for spec in ("nowhere.csv", "nowhere", "nowhere-{0..3}.tar", "nowhere-*.tar"):
        with pytest.raises(UserError, match="nowhere"):
            load_pairs(tmp_path / spec)
    with pytest.raises(UserError, match="neither images nor"):
        load_pairs(tmp_path)


def test_a_binary_file_is_no_table(tmp_path):
    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00\x01" * 20)
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1nonsense")
    for name in ("pairs.csv", "pairs.parquet"):
        with pytest.raises(UserError, match=name):
            load_pairs(tmp_path / name)


@pytest.mark.parametrize("keep", [0.95, 0.6, 0.5, 0.2])
def test_a_shard_cut_short_is_named(folder, keep):
    _write_shard(folder / "s.tar", list(COLOURS) * 8)
    data = (folder / "s.tar").read_bytes().rstrip(b"\0")
    (folder / "s.tar").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UserError, match=r"s\.tar is damaged, cut short"):
        load_pairs(folder / "s.tar")


def test_a_shard_cut_between_members_is_named(folder):
    _write_shard(folder / "s.tar", list(COLOURS))
    with tarfile.open(folder / "s.tar") as tar:
        border = tar.getmembers()[2].offset
    (folder / "s.tar").write_bytes((folder / "s.tar").read_bytes()[:border])
    with pytest.raises(UserError, match=r"s\.tar is damaged, cut short"):
        load_pairs(folder / "s.tar")


def test_captions_of_one_image_share_it(folder):
    import datasets

    rows = {
        "image": [{"bytes": _png((1, 2, 3)), "path": None}] * 3,
        "caption": [["one", "two"], ["three"], ["four"]],
        "id": ["a", "b", "a"],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Sequence(datasets.Value("string")),
            "id": datasets.Value("string"),
        }
    )
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(folder / "ds")
    records = load_pairs(folder / "ds", id_column="id").records
    assert [(r.image_key, r.caption) for r in records] == [
        (0, "one"),
        (0, "two"),
        (1, "three"),
        (0, "four"),
    ]


def test_shards_that_are_missing_are_counted(tmp_path):
    with pytest.raises(UserError, match=r"\(2 of 2 are missing in"):
        load_pairs(f"{tmp_path}/shards-{{0..1}}.tar")
    (tmp_path / "shards-0.tar").touch()
    with pytest.raises(UserError, match=r"shards-1\.tar \(1 of 2 is missing in"):
        load_pairs(f"{tmp_path}/shards-{{0..1}}.tar")
