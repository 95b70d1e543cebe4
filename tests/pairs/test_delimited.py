"""CSV and TSV: no field is lost, moved or joined without a word."""

import csv
import io
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import load_pairs
from mm_sae_plugin.pairs.delimited import BadRow, read_csv, read_tsv

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
_PLAIN = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r\n\t"), min_size=1, max_size=12
)


@given(rows=st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=4))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_csv_comes_back_as_it_was_written(rows, quoting):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=quoting).writerows([("image", "caption"), *rows])
    names, read = read_csv(buffer.getvalue())
    assert names == ["image", "caption"]
    assert [tuple(row.fields) for row in read] == rows


@given(rows=st.lists(st.tuples(_PLAIN, _PLAIN), min_size=1, max_size=4))
def test_tsv_with_every_field_in_quotes_comes_back(rows):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t", quoting=csv.QUOTE_ALL)
    writer.writerows([("image", "caption"), *rows])
    assert [tuple(row.fields) for row in read_tsv(buffer.getvalue())[1]] == rows


@pytest.mark.parametrize(
    "captions",
    [
        ['"smile," says the sign', '"hello', "a dog", 'end of the "road"', 'world" he said'],
        ['"hello"', "a dog"],
        ['"', "a dog"],
        ['""', "a dog"],
        ['"one', "a dog", 'two"'],
        ["5\" pipe, 3' rod", "a dog"],
    ],
)
def test_quotes_in_a_plain_tsv_belong_to_the_text(captions):
    text = "image\tcaption\n" + "".join(f"{i}.png\t{c}\n" for i, c in enumerate(captions))
    _, rows = read_tsv(text)
    assert [row.fields for row in rows] == [[f"{i}.png", c] for i, c in enumerate(captions)]


def test_a_tsv_of_a_csv_writer_is_known_by_its_quotes(tmp_path):
    captions = ['say "hi"', "a\ttab", "two\nlines", "plain"]
    frame = pd.DataFrame({"image": list("abcd"), "caption": captions})
    for chosen in (captions, captions[:1] + captions[3:]):
        rows = frame[frame.caption.isin(chosen)]
        rows.to_csv(tmp_path / "pairs.tsv", sep="\t", index=False)
        assert [r.caption for r in load_pairs(tmp_path / "pairs.tsv").records] == chosen


@pytest.mark.parametrize(("suffix", "s"), [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("lines_before", [0, 2])
def test_a_row_of_another_width_is_named_with_its_line(tmp_path, suffix, s, lines_before):
    path = tmp_path / f"pairs.{suffix}"
    good = [f"{i}.png{s}a dog" for i in range(lines_before)]
    for bad, remedy in ((f"9.png{s}a red{s} round cup", "separator"), ("9.png", "line end")):
        path.write_text("\n".join([f"image{s}caption", *good, bad]) + "\n")
        with pytest.raises(UserError, match=rf"line {lines_before + 2} has .*{remedy}.*quotation"):
            load_pairs(path)


def test_every_row_with_one_more_is_no_index(tmp_path):
    (tmp_path / "pairs.csv").write_text("caption,image\na red, round cup,0.png\na cat, x,1.png\n")
    with pytest.raises(UserError, match=r"pairs\.csv.*line 2 has 3 fields.*2 names"):
        load_pairs(tmp_path / "pairs.csv")


def test_a_separator_at_the_end_of_lines_loses_nothing():
    assert [row.fields for row in read_csv("image,caption\n0.png,a dog,\n")[1]] == [
        ["0.png", "a dog"]
    ]


def test_lines_are_counted_through_fields_of_several_lines():
    with pytest.raises(BadRow, match="line 5 has 3 fields"):
        read_csv('image,caption\n0.png,"two\nlines"\n\n1.png,a,b\n')


@pytest.mark.parametrize("field", ['"smile," says the sign', '"never closed'])
def test_a_quote_that_cannot_be_one_is_named(field):
    with pytest.raises(BadRow, match=r"line 3 cannot be read.*twice"):
        read_csv(f"image,caption\n0.png,a\n1.png,{field}\n2.png,b\n")


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("image,caption,caption\n0.png,a,b\n")
    with pytest.raises(UserError, match="2 columns 'caption'"):
        load_pairs(tmp_path / "pairs.csv")


@pytest.mark.parametrize(
    ("suffix", "text", "message"),
    [
        ("csv", "image;caption\n0.png;a dog\n", r"separated by semicolons \(';'\).*with commas"),
        # Commas in captions, and quotes, would be blamed otherwise.
        ("csv", "image;caption\n0.png;a dog, brown\n", "separated by semicolons.*with commas"),
        ("csv", '\n"image";"caption"\n"0.png";"a dog"\n', "separated by semicolons.*with commas"),
        ("csv", "image\tcaption\n0.png\ta dog\n", r"separated by tabs.*name the file \.tsv"),
        ("tsv", "image,caption\n0.png,a dog\n", r"separated by commas.*name the file \.csv"),
        ("tsv", "image;caption\n0.png;a dog\n", "separated by semicolons.*save it with tabs"),
    ],
)
def test_another_separator_is_named(tmp_path, suffix, text, message):
    path = tmp_path / f"pairs.{suffix}"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"pairs\.{suffix} .*{message}"):
        load_pairs(path)


@pytest.mark.parametrize("option", ["image_column", "caption_column", "id_column", "label_columns"])
def test_a_wrong_column_names_its_option(tmp_path, option):
    path = tmp_path / "pairs.csv"
    path.write_text("image,caption\n0.png,a; b\n")
    flag = "--" + option.replace("_", "-")
    arguments: dict[str, Any] = {option: "none"}
    if option == "label_columns":
        arguments = {option: ("none",)}
    with pytest.raises(UserError, match=rf"name the right one with {flag} \({option}=… in Python"):
        load_pairs(path, **arguments)
    assert [record.caption for record in load_pairs(path).records] == ["a; b"]
