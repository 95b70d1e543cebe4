"""A user's own table: what is read of it, what is left out, and what is refused before any work."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from mm_sae_plugin.applications.bias.embedding import embed_pictures
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.own_data import TWIN_UNREADABLE, UNREADABLE, embed_own
from mm_sae_plugin.applications.bias.own_table import AuditColumns, prompts_for, read_own_table
from mm_sae_plugin.applications.bias.prompts import DEFAULT_TEMPLATES, PromptSet
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model
from mm_sae_plugin.pairs import decode_image
from tests.applications.bias.faces import draw_faces, write_table

GENDER = AuditColumns(group="gender")
JOBS = AuditColumns(group="gender", target="occupation")
TWINS = AuditColumns(group="gender", target="occupation", twin="twin")


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture
def rows(tmp_path):
    return draw_faces(tmp_path)


@pytest.fixture
def table(rows, tmp_path) -> Path:
    return write_table(tmp_path / "faces.csv", rows)


def test_pictures_and_their_labels_stay_together(model, table, rows):
    columns = AuditColumns(group="gender", target="occupation", identity="who", twin="twin")
    data = embed_own(model, read_own_table(table, columns))
    assert data.paths == tuple(row["image"] for row in rows)
    assert data.groups.group == tuple(row["gender"] for row in rows)
    assert data.groups.target == tuple(row["occupation"] for row in rows)
    assert data.groups.identity == tuple(row["who"] for row in rows)
    assert data.groups.twin == tuple(row["twin"] for row in rows)
    pictures = [decode_image(table.parent / row["image"]) for row in rows]
    torch.testing.assert_close(data.images, embed_pictures(model, pictures))
    assert data.open_image(3).tobytes() == pictures[3].tobytes()
    assert data.left_out == {} and data.layout is None
    assert data.told["name"] == "faces.csv" and data.told["columns"] == columns.named | {}


@pytest.mark.parametrize("suffix", [".tsv", ".parquet", ".jsonl"])
def test_other_tables_give_the_same(rows, table, tmp_path, suffix):
    other = tmp_path / f"other{suffix}"
    frame = pd.DataFrame(rows)
    if suffix == ".tsv":
        write_table(other, rows)
    elif suffix == ".parquet":
        frame.to_parquet(other)
    else:
        frame.to_json(other, orient="records", lines=True)
    one, same = read_own_table(table, TWINS), read_own_table(other, TWINS)
    assert same.groups == one.groups and same.images == one.images
    if suffix == ".jsonl":
        other.write_text(other.read_text() + "not JSON\n")
        assert read_own_table(other, TWINS).left_out == {"its line is no row": 1}


def test_unreadable_pictures_are_named_and_leave_with_their_twins(model, tmp_path):
    rows = draw_faces(tmp_path, 46)
    # Twins are two by two: one without its other, and two of one pair.
    (tmp_path / rows[5]["image"]).unlink()
    for row in rows[10:12]:
        (tmp_path / row["image"]).write_bytes(b"no picture")
    data = embed_own(model, read_own_table(write_table(tmp_path / "faces.csv", rows), TWINS))
    kept = [row for at, row in enumerate(rows) if at not in (4, 5, 10, 11)]
    assert data.paths == tuple(row["image"] for row in kept)
    assert data.groups.group == tuple(row["gender"] for row in kept)
    assert data.groups.twin == tuple(row["twin"] for row in kept)
    pictures = [decode_image(tmp_path / row["image"]) for row in kept]
    torch.testing.assert_close(data.images, embed_pictures(model, pictures))
    assert data.left_out == {UNREADABLE: 3, TWIN_UNREADABLE: 1}
    assert set(data.unreadable) == {rows[at]["image"] for at in (5, 10, 11)}
    assert data.unreadable["faces/5.png"] == "no such file"
    assert "not an image" in data.unreadable["faces/10.png"]
    # Those that are named are not counted a second time.
    assert data.told["unreadable"] == data.unreadable
    assert data.told["left_out"] == {TWIN_UNREADABLE: 1}


def test_too_few_readable_pictures_are_refused(model, table, rows, tmp_path):
    for row in rows[:2]:
        (tmp_path / row["image"]).unlink()
    read = read_own_table(table, GENDER)
    with pytest.raises(UserError, match=r"^Without the 2 pictures of faces.csv that"):
        embed_own(model, read)
    for row in rows[2:]:
        (tmp_path / row["image"]).unlink()
    with pytest.raises(UserError, match=r"None of the 40 pictures .*'faces/0.png' \(no such file"):
        embed_own(model, read)


def test_a_picture_counts_once_however_many_captions_it_has(rows, tmp_path):
    table = write_table(tmp_path / "faces.csv", [*rows, *rows[:7]])
    read = read_own_table(table, JOBS)
    assert len(read.images) == 40
    assert read.left_out == {"its picture stands in a row before": 7}
    spelt = dict(rows[0], image="./" + rows[0]["image"], gender="man")
    write_table(table, [*rows, spelt])
    with pytest.raises(UserError, match=r"faces/0.png' has the group 'woman' in one row and 'man'"):
        read_own_table(table, JOBS)


def test_groups_that_are_not_asked_about_are_left_out(rows, tmp_path):
    rows.append(dict(rows[0], image="faces/x.png", gender="not given"))
    rows += [dict(rows[0], image=""), dict(rows[0], image="faces/y.png", gender="")]
    table = write_table(tmp_path / "faces.csv", rows)
    read = read_own_table(table, GENDER, groups=("man", "woman"))
    assert read.groups.names == ("man", "woman")
    assert read.left_out == {
        "its group is not given": 1,
        "its group is not asked about": 1,
        "it names no picture": 1,
    }
    with pytest.raises(UserError, match=r"no group 'men': choose from man, not given, woman"):
        read_own_table(table, GENDER, groups=("men", "woman"))


def _with(**values):
    return lambda rows: [row | values for row in rows]


REFUSED = {
    "one group": (_with(gender="man"), TWINS, "All images are of one group, 'man'"),
    "too few": (lambda rows: rows[:-1], GENDER, "group 'man' has 19 images, and at least 20"),
    "missing group": (
        lambda rows: [rows[0] | {"gender": " "}, *rows[1:]],
        GENDER,
        "1 of 40 images have no group",
    ),
    "identity in two groups": (
        _with(who="same"),
        AuditColumns(group="gender", identity="who"),
        "identity 'same' is in two groups",
    ),
    "unpaired twins": (
        lambda rows: [rows[0] | {"twin": "alone"}, *rows[1:]],
        TWINS,
        "The twin 'alone' has 0 of 'man' and 1 of 'woman'",
    ),
    "one target": (_with(occupation="nurse"), JOBS, "have the target 'nurse'"),
    "no such column": (
        lambda rows: rows,
        AuditColumns(group="sex"),
        "no column 'sex' for the group: its columns are image, gender, occupation, twin, who",
    ),
    "no images": (
        lambda rows: [{"path": row["image"], "gender": row["gender"]} for row in rows],
        GENDER,
        "no column 'image' for the image: its columns are path, gender",
    ),
    "no layout": (lambda rows: rows, AuditColumns(), "of no layout that is known"),
    "addresses": (
        lambda rows: [row | {"image": f"https://example.org/{row['image']}"} for row in rows],
        GENDER,
        "The pictures are addresses, and nothing is downloaded",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_a_table_is_told_before_any_work(rows, tmp_path, case):
    change, columns, told = REFUSED[case]
    table = write_table(tmp_path / "faces.csv", change(rows))
    with pytest.raises(UserError, match=r"faces\.csv") as caught:
        read_own_table(table, columns)
    assert told in str(caught.value)


def test_other_encodings_are_named(rows, tmp_path):
    table = tmp_path / "faces.csv"
    write_table(table, [row | {"occupation": f"é{row['occupation']}"} for row in rows])
    table.write_bytes(table.read_text(encoding="utf-8").encode("cp1252"))
    assert read_own_table(table, JOBS, encoding="cp1252").groups.target is not None
    with pytest.raises(UserError, match=r"cannot be read as a table: .*--encoding"):
        read_own_table(table, JOBS)


def test_what_is_no_table_is_refused(table, tmp_path):
    for wrong, told in (
        ("factorworld:10", "is no table"),
        (tmp_path, "is no table"),
        (tmp_path / "gone.csv", "There is no file"),
        (tmp_path / "gone.txt", "There is no file"),
    ):
        with pytest.raises(UserError, match=told):
            read_own_table(wrong, GENDER)
    with pytest.raises(UserError, match=r"There is no folder .*nowhere"):
        read_own_table(table, GENDER, images_dir=tmp_path / "nowhere")
    table.write_text(table.read_text().replace("who", "twin"))
    with pytest.raises(UserError, match="several columns 'twin'"):
        read_own_table(table, GENDER)
    inside = tmp_path / "inside.parquet"
    pd.DataFrame({"image": [{"bytes": b"x"}], "gender": ["man"]}).to_parquet(inside)
    with pytest.raises(UserError, match="holds pictures, not paths"):
        read_own_table(inside, GENDER)


def test_prompts_are_of_the_targets(table):
    groups = read_own_table(table, JOBS).groups
    assert prompts_for(groups, None) == PromptSet(
        DEFAULT_TEMPLATES, {"nurse": ("nurse",), "pilot": ("pilot",)}
    )
    more = PromptSet(("a {}",), {"pilot": ("pilot",), "nurse": ("nurse",), "chef": ("chef",)})
    assert set(prompts_for(groups, more).targets) == {"nurse", "pilot"}
    with pytest.raises(UserError, match="'pilot', for which the prompts have no words"):
        prompts_for(groups, PromptSet(("a {}",), {"nurse": ("nurse",)}))
    stated = PromptSet(
        ("a {}",),
        {"nurse": ("nurse",), "pilot": ("pilot",)},
        {"nurse": "Female", "pilot": "Male"},
    )
    with pytest.raises(UserError, match=r"towards the group 'Female'.*choose from man, woman"):
        prompts_for(groups, stated)
    without = read_own_table(table, GENDER).groups
    assert prompts_for(without, more) == more
    with pytest.raises(UserError, match=r"no target column .*: name one, or give prompts"):
        prompts_for(without, None)


def test_a_target_needs_images_of_every_group(rows, tmp_path):
    apart = [row | {"occupation": f"job of a {row['gender']}"} for row in rows]
    groups = read_own_table(write_table(tmp_path / "faces.csv", apart), JOBS).groups
    with pytest.raises(UserError, match="No target has two images of every group"):
        prompts_for(groups, None)


# ------------------------------------------------------------------ published layouts

URL = "URL type (Type NA if can't find)"


def _fairface(row, path):
    gender = {"woman": "Female", "man": "Male"}[row["gender"]]
    return {
        "file": path,
        "age": "20-29",
        "gender": gender,
        "race": "Indian",
        "service_test": "True",
    }


def _celeba(row, path):
    male = {"woman": "-1", "man": "1"}[row["gender"]]
    return {"image_id": path, "5_o_Clock_Shadow": "-1", "Male": male, "Young": "1"}


def _facet(row, path):
    flags = {"masc": "man", "fem": "woman"}
    said = {
        f"gender_presentation_{word}": str(int(row["gender"] == gender))
        for word, gender in flags.items()
    }
    return {"person_id": row["who"], "filename": path, "class1": row["occupation"], **said}


def _visogender(row, path):
    gender = {"woman": "feminine", "man": "masculine"}[row["gender"]]
    return {
        "IDX": row["who"],
        "Sector": "any",
        "Occupation": row["occupation"],
        URL: f"https://example.org/{path}",
        "Occupation_perceived_gender": gender,
        "file": path,
    }


@pytest.mark.parametrize(
    ("layout", "write", "suffix", "columns"),
    [
        ("FairFace", _fairface, ".csv", AuditColumns()),
        ("CelebA", _celeba, ".csv", AuditColumns()),
        ("FACET", _facet, ".csv", AuditColumns()),
        ("VisoGender", _visogender, ".tsv", AuditColumns(image="file")),
    ],
)
def test_published_layouts_are_known(model, rows, tmp_path, layout, write, suffix, columns):
    lines = [write(row, row["image"]) for row in rows]
    data = embed_own(model, read_own_table(write_table(tmp_path / f"own{suffix}", lines), columns))
    assert data.layout == layout and data.left_out == {}
    assert data.groups.group == tuple(row["gender"] for row in rows)
    jobs = tuple(row["occupation"] for row in rows)
    assert data.groups.target == (jobs if layout in ("FACET", "VisoGender") else None)
    people = tuple(row["who"] for row in rows)
    assert data.groups.identity == (people if layout == "FACET" else None)
    assert data.images.shape == (40, 128)


def test_utkface_lies_in_its_file_names(model, rows, tmp_path):
    lines = []
    for at, row in enumerate(rows):
        name = f"{20 + at}_{int(row['gender'] == 'woman')}_2_20170116184024{at:03}.jpg"
        decode_image(tmp_path / row["image"]).save(tmp_path / name)
        lines.append({"file": name})
    data = embed_own(model, read_own_table(write_table(tmp_path / "utk.csv", lines)))
    assert data.layout == "UTKFace"
    assert data.groups.group == tuple(row["gender"] for row in rows)


def test_celeba_as_it_is_published_lies_in_text_files(rows, tmp_path):
    names = ["5_o_Clock_Shadow", "Male", "Young"]
    lines = [str(len(rows)), " ".join(names)]
    for row in rows:
        flags = [_celeba(row, "")[name] for name in names]
        lines.append("  ".join([Path(row["image"]).name, *flags]))
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    people = [f"{Path(row['image']).name} {row['who']}" for row in rows]
    (tmp_path / "identity_CelebA.txt").write_text("\n".join(people) + "\n")
    read = read_own_table(
        tmp_path / "list_attr_celeba.txt",
        images_dir=tmp_path / "faces",
        identities=tmp_path / "identity_CelebA.txt",
    )
    assert read.layout == "CelebA" and read.folder == tmp_path / "faces"
    assert read.images == tuple(Path(row["image"]).name for row in rows)
    assert read.groups.group == tuple(row["gender"] for row in rows)
    assert read.groups.identity == tuple(row["who"] for row in rows)


def test_a_layout_takes_columns_of_ones_own(rows, tmp_path):
    lines = [_fairface(row, row["image"]) | {"job": row["occupation"]} for row in rows]
    lines[5]["gender"] = "?"
    lines += [dict(lines[1], file="faces/x.png")]
    read = read_own_table(write_table(tmp_path / "own.csv", lines), AuditColumns(target="job"))
    expected = [row["occupation"] for at, row in enumerate(rows) if at != 5]
    assert read.groups.target == (*expected, rows[1]["occupation"])
    assert read.left_out == {"its gender is not given": 1}


def test_a_direction_towards_one_group_alone_is_refused():
    groups = Groups(("woman", "man") * 20)
    prompts = PromptSet(("a {}",), {"nurse": ("nurse",)}, {"nurse": "woman"})
    with pytest.raises(UserError, match="towards 'woman' alone, which nothing can be compared"):
        prompts_for(groups, prompts)
