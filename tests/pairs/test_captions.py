"""Captions of every reader: as they were written, or with the reason why not."""

import io
import json
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import load_pairs
from mm_sae_plugin.pairs.captions import captions_of


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
    return buffer.getvalue()


def _tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _captions(source):
    return [record.caption for record in source.records]


ENCODED = {
    "mark": "a café\n".encode("utf-8-sig"),
    "utf-16": "a café\n".encode("utf-16"),
    "utf-16-be": b"\xfe\xff" + "a café\n".encode("utf-16-be"),
    "utf-32": "a café\n".encode("utf-32"),
    "plain": "a café\r\n".encode(),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_marks_are_decoded_and_no_part_of_a_caption(tmp_path, kind):
    (tmp_path / "0.png").write_bytes(_png())
    (tmp_path / "0.txt").write_bytes(ENCODED[kind])
    assert _captions(load_pairs(tmp_path)) == ["a café"]
    shard = _tar(tmp_path / "s.tar", [("0.png", _png()), ("0.txt", ENCODED[kind])])
    assert _captions(load_pairs(shard)) == ["a café"]


@pytest.mark.parametrize("kind", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_marks_of_tables(tmp_path, kind, suffix):
    separator = "," if suffix == "csv" else "\t"
    text = f"image{separator}caption\n0.png{separator}a café\n"
    if suffix == "jsonl":
        text = json.dumps({"image": "0.png", "caption": "a café"}, ensure_ascii=False) + "\n"
    path = tmp_path / f"pairs.{suffix}"
    path.write_bytes(text.encode(kind))
    assert _captions(load_pairs(path)) == ["a café"]


BROKEN = {"cp1252": "a dog\na café".encode("cp1252"), "utf-16-le": "a dog".encode("utf-16-le")}


@pytest.mark.parametrize("encoding", BROKEN)
def test_text_that_cannot_be_decoded_is_listed_with_line_and_remedy(tmp_path, encoding):
    (tmp_path / "0.png").write_bytes(_png())
    (tmp_path / "0.txt").write_bytes(BROKEN[encoding])
    shard = _tar(tmp_path / "s.tar", [("0.png", _png()), ("0.txt", BROKEN[encoding])])
    line = 2 if encoding == "cp1252" else 1
    for spec in (tmp_path, shard):
        (record,) = load_pairs(spec).records
        assert record.caption == "" and record.fault is not None
        assert f"0.txt cannot be read: line {line} " in record.fault
        assert "--encoding" in record.fault and encoding in record.fault
        named = load_pairs(spec, encoding=encoding)
        assert " ".join(_captions(named)).startswith("a dog")
        assert not any(r.fault for r in named.records)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_a_table_that_cannot_be_decoded_is_refused_with_line_and_remedy(tmp_path, suffix):
    separator = "," if suffix == "csv" else "\t"
    text = f"image{separator}caption\n0.png{separator}a café\n"
    if suffix == "jsonl":
        text = '\n{"image": "0.png", "caption": "a café"}\n'
    path = tmp_path / f"pairs.{suffix}"
    path.write_bytes(text.encode("cp1252"))
    with pytest.raises(UserError, match=rf"pairs\.{suffix}.*line 2 is not UTF-8.*--encoding"):
        load_pairs(path)
    assert _captions(load_pairs(path, encoding="cp1252")) == ["a café"]


@pytest.mark.parametrize("encoding", ["latin-17", "base64"])
def test_an_encoding_that_is_none_is_refused(encoding):
    with pytest.raises(UserError, match="no text encoding"):
        load_pairs("factorworld:2", encoding=encoding)


def test_cells_of_every_kind():
    def texts(cell):
        return [c.text for c in captions_of(cell)]

    assert texts("NA") == ["NA"]
    for missing in (None, float("nan"), pd.NA, pd.NaT, np.float64("nan"), [], np.array([])):
        assert texts(missing) == [""] and captions_of(missing)[0].fault is None
    assert texts(["a", None, "b"]) == ["a", "", "b"]
    assert texts(np.array(["a", "b"], dtype=object)) == ["a", "b"]
    assert texts(0) == ["0"]
    assert texts("a café".encode()) == ["a café"]
    for bad in ({"raw": "a"}, [["a"]], "half a \ud83d pair", b"\xe9"):
        (caption,) = captions_of(bad)
        assert caption.text == "" and caption.fault
        caption.fault.encode()


def test_lists_in_parquet_are_several_pairs(tmp_path):
    frame = pd.DataFrame({"image": ["0.png", "1.png"], "caption": [["a", "b"], ["c"]]})
    frame.to_parquet(tmp_path / "pairs.parquet")
    records = load_pairs(tmp_path / "pairs.parquet").records
    assert [(r.image_key, r.caption) for r in records] == [
        ("0.png", "a"),
        ("0.png", "b"),
        ("1.png", "c"),
    ]


def test_missing_captions_of_parquet_and_categories(tmp_path):
    frame = pd.DataFrame({"image": ["0.png", "1.png", "2.png"]})
    frame["caption"] = pd.array(["a", pd.NA, "c"], dtype="string")
    frame.to_parquet(tmp_path / "na.parquet")
    assert _captions(load_pairs(tmp_path / "na.parquet")) == ["a", "", "c"]
    frame["caption"] = frame["caption"].astype("category")
    frame.to_parquet(tmp_path / "category.parquet")
    assert _captions(load_pairs(tmp_path / "category.parquet")) == ["a", "", "c"]


def test_parquet_text_that_is_no_unicode_is_listed(tmp_path):
    broken = pa.array([b"a dog", b"a caf\xe9"], pa.binary())
    column = pa.StringArray.from_buffers(2, *broken.buffers()[1:3])
    pq.write_table(
        pa.table({"image": ["0.png", "1.png"], "caption": column}), tmp_path / "x.parquet"
    )
    first, second = load_pairs(tmp_path / "x.parquet").records
    assert first.caption == "a dog" and second.caption == ""
    assert second.fault and "not UTF-8" in second.fault


HALF = json.dumps({"image": "0.png", "caption": "half a \ud83d pair", "place": "here"})


def test_half_a_surrogate_pair_is_listed_at_once(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(HALF)
    _tar(tmp_path / "s.tar", [("0.png", _png()), ("0.json", HALF.encode())])
    for name in ("pairs.jsonl", "s.tar"):
        (record,) = load_pairs(tmp_path / name).records
        assert record.caption == "" and record.fault and "no valid Unicode" in record.fault


def test_half_a_surrogate_pair_in_an_id_or_label_is_listed_at_once(tmp_path):
    lines = [HALF, json.dumps({"image": "1.png", "caption": "b", "place": "half \udc00"})]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    source = load_pairs(tmp_path / "pairs.jsonl", label_columns=["place"])
    assert [record.image_id for record in source.records] == ["0.png"]
    assert "no valid Unicode" in source.skipped[0][1]


def test_a_named_caption_is_never_replaced(tmp_path):
    described = json.dumps({"caption": "from json", "recaption": "from recaption"}).encode()
    files = [("0.png", _png()), ("0.txt", b"from txt"), ("0.json", described)]
    shard = _tar(tmp_path / "s.tar", [*files, ("0.short.txt", b"from short")])
    for name, expected in (
        (None, "from txt"),
        ("caption", "from json"),
        ("recaption", "from recaption"),
        ("txt", "from txt"),
        ("short", "from short"),
    ):
        assert _captions(load_pairs(shard, caption_column=name)) == [expected]
    with pytest.raises(UserError, match=r"No sample .* has 'alt'.*'recaption'"):
        load_pairs(shard, caption_column="alt")


def test_a_sample_without_the_named_caption_is_listed(tmp_path):
    with_it = json.dumps({"alt": "yes"}).encode()
    files = [("0.png", _png()), ("0.json", with_it), ("1.png", _png()), ("1.txt", b"other")]
    first, second = load_pairs(_tar(tmp_path / "s.tar", files), caption_column="alt").records
    assert first.caption == "yes"
    assert second.caption == "" and second.fault == "its sample has no caption 'alt'"


def test_a_named_caption_of_tables_and_data_sets_wins(tmp_path):
    import datasets

    rows = {"image": ["0.png"], "caption": ["default"], "text": ["second"], "alt": ["named"]}
    pd.DataFrame(rows).to_csv(tmp_path / "pairs.csv", index=False)
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "ds")
    for spec in (tmp_path / "pairs.csv", f"hf:{tmp_path / 'ds'}"):
        assert _captions(load_pairs(spec)) == ["default"]
        assert _captions(load_pairs(spec, caption_column="text")) == ["second"]
        assert _captions(load_pairs(spec, caption_column="alt")) == ["named"]
        with pytest.raises(UserError, match="no column 'none'"):
            load_pairs(spec, caption_column="none")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_folders_as_hugging_face_writes_them(tmp_path, name):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.png").write_bytes(_png())
    frame = pd.DataFrame({"file_name": ["train/0.png"], "text": ["a red square"]})
    if name.endswith("csv"):
        frame.to_csv(tmp_path / name, index=False)
    elif name.endswith("jsonl"):
        frame.to_json(tmp_path / name, orient="records", lines=True)
    else:
        frame.to_parquet(tmp_path / name)
    source = load_pairs(tmp_path)
    assert [(r.image_key, r.caption) for r in source.records] == [("train/0.png", "a red square")]
    assert source.image_column == "file_name"
    assert source.open_image("train/0.png").getpixel((0, 0)) == (255, 0, 0)


def test_a_column_where_there_are_none_is_refused(tmp_path):
    (tmp_path / "0.png").write_bytes(_png())
    with pytest.raises(UserError, match=r"no columns, so none is called 'alt': put a table"):
        load_pairs(tmp_path, caption_column="alt")
    # What would be looked for anyway is no demand.
    assert len(load_pairs(tmp_path, "image", "caption", None, ()).records) == 1


def test_ids_and_labels_in_bytes_are_text_or_listed(tmp_path):
    columns = {
        "image": ["0.png", "1.png"],
        "caption": ["a", "b"],
        "id": [b"caf\xc3\xa9", b"caf\xe9"],
    }
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    path = tmp_path / "pairs.parquet"
    for source in (load_pairs(path, id_column="id"), load_pairs(path, label_columns=["id"])):
        (record,) = source.records
        assert "café" in (record.image_id, *(record.labels or {}).values())
        assert "no valid Unicode" in source.skipped[0][1]
