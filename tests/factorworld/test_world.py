"""FactorWorld: the rates of its table, its determinism, its hard negatives and its files."""

import csv
import errno
import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, SHARED_FACTORS, FactorWorld
from mm_sae_plugin.factorworld.export import WorldConfig, export_world
from mm_sae_plugin.factorworld.factors import PERSON_SHARE, WOMAN_GIVEN_OCCUPATION

N = 4_000


@pytest.fixture(scope="module")
def scenes():
    world = FactorWorld(seed=5)
    return [world.scene(index) for index in range(N)]


def test_table_declares_enough_factors_on_each_side():
    graded = [factor for factor in FACTORS.values() if factor.is_graded]
    assert len(FACTORS) >= 14
    assert sum(factor.modality == "ImgD" for factor in graded) >= 4
    assert sum(factor.modality == "TextD" for factor in graded) >= 4
    assert any(factor.said == 0 for factor in FACTORS.values())
    assert any(factor.drawn == 0 for factor in FACTORS.values())
    assert sum(len(factor.values) for factor in FACTORS.values()) >= 100


@pytest.mark.parametrize("name", FACTORS)
def test_each_factor_is_drawn_and_said_at_its_rates(scenes, name):
    factor = FACTORS[name]
    applying = [scene for scene in scenes if name in scene.values]
    for rate, side in ((factor.drawn, "drawn"), (factor.said, "said")):
        share = np.mean([name in getattr(scene, side) for scene in applying])
        # Five standard errors of a proportion; exact at the rates 0 and 1.
        assert abs(share - rate) <= 5 * np.sqrt(rate * (1 - rate) / len(applying))


@pytest.mark.parametrize("name", FACTORS)
def test_every_value_occurs(scenes, name):
    counts = Counter(scene.values[name] for scene in scenes if name in scene.values)
    assert set(counts) == set(FACTORS[name].values)


def test_a_pair_is_drawn_with_some_factors_set_by_hand():
    world = FactorWorld(seed=5)
    assert world.pair_with(3, {}) == world.pair(3)
    given = {"object": "kite", "lighting": "dusk", "reader": "mom", "signoff": "bye"}
    pair = world.pair_with(3, given, "objects")
    assert "kite" in pair.caption and "at dusk" in pair.caption
    assert pair.caption.endswith(f"bye {pair.labels['said.ending']}")
    for name, value in given.items():
        assert pair.labels[f"said.{name}"] == value
        # Nothing can draw a sign-off.
        assert pair.labels[f"drawn.{name}"] == ("" if name == "signoff" else value)
    other = world.pair_with(3, given | {"lighting": "night"}, "objects")
    assert other.labels | {"drawn.lighting": "dusk", "said.lighting": "dusk"} == pair.labels
    assert other.image != pair.image
    for values, kind, message in (
        ({"object": "x"}, None, "There is no object 'x': choose from ball"),
        ({"shape": "x"}, None, "There is no factor 'shape': choose from object"),
        ({"gender": "man"}, "objects", "A scene of objects has no gender"),
        ({}, "animal", "objects or person, not 'animal'"),
    ):
        with pytest.raises(UserError, match=message):
            world.pair_with(3, values, kind)


def test_planted_association_holds(scenes):
    people = [scene for scene in scenes if scene.kind == "person"]
    assert abs(len(people) / N - PERSON_SHARE) < 0.04
    for occupation, rate in WOMAN_GIVEN_OCCUPATION.items():
        own = [s.values["gender"] for s in people if s.values["occupation"] == occupation]
        share = own.count("woman") / len(own)
        assert abs(share - rate) <= 5 * np.sqrt(rate * (1 - rate) / len(own))
    assert np.mean(list(WOMAN_GIVEN_OCCUPATION.values())) == pytest.approx(0.5)


def test_caption_names_exactly_what_is_said(scenes):
    for scene in scenes[:500]:
        words = scene.caption.split()
        for name, factor in FACTORS.items():
            mentioned = {v for v in factor.values if v in words or f"{v}s" in words}
            expected = {scene.said[name]} if name in scene.said else set()
            assert mentioned == expected, (scene.caption, name)


def test_pair_depends_on_seed_and_index_alone():
    first, second = FactorWorld(7), FactorWorld(7)
    second.pair(3)
    one, two = first.pair(11), second.pair(11)
    assert one.caption == two.caption
    assert one.labels == two.labels
    assert one.image.tobytes() == two.image.tobytes()
    assert FactorWorld(8).pair(11).image.tobytes() != one.image.tobytes()


def test_draw_and_describe_agree_with_pair():
    world = FactorWorld(3)
    pair = world.pair(2)
    assert world.describe(2) == (pair.caption, pair.labels)
    assert world.draw(2).tobytes() == pair.image.tobytes()
    assert pair.image.size == (64, 64)
    assert pair.image.mode == "RGB"


def test_groups_share_most_of_their_shared_factors():
    world = FactorWorld(1, group_size=8, redraw=0.2)
    same = []
    for group in range(100):
        scenes = [world.scene(8 * group + member) for member in range(8)]
        assert len({scene.kind for scene in scenes}) == 1
        applying = [n for n in SHARED_FACTORS if n in scenes[0].values and n != "gender"]
        for name in applying:
            top = Counter(scene.values[name] for scene in scenes).most_common(1)[0][1]
            same.append(top / 8)
    assert 0.75 < np.mean(same) < 0.95


def test_a_table_changes_the_rates_and_nothing_else():
    seldom = FACTORS | {"tone": replace(FACTORS["tone"], drawn=0.4, said=0.5)}
    world, default = FactorWorld(4, factors=seldom), FactorWorld(4)
    scenes = [(world.scene(index), default.scene(index)) for index in range(300)]
    assert all(mine.values == theirs.values for mine, theirs in scenes)
    assert all(mine.drawn.items() >= theirs.drawn.items() for mine, theirs in scenes)
    assert all(mine.said.items() <= theirs.said.items() for mine, theirs in scenes)
    assert world.version != default.version


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "ground",
            {"drawn": 0.4},
            "ground cannot be drawn at the rate 0.4: only an occupation or a mark",
        ),
        ("signoff", {"drawn": 1}, "signoff cannot be drawn at the rate 1"),
        ("tilt", {"said": 0.4}, "tilt cannot be said: no caption has words for it"),
        ("tag", {"values": ("#food", "#cars")}, "tag cannot take the values"),
        ("tag", {"values": ()}, "tag cannot take the values"),
    ],
)
def test_a_table_that_cannot_be_drawn_or_said_is_refused(name, change, sentence):
    with pytest.raises(UserError, match=sentence):
        FactorWorld(factors=FACTORS | {name: replace(FACTORS[name], **change)})


def test_a_table_of_other_factors_is_refused():
    with pytest.raises(UserError, match="the names of FACTORS, in the same order"):
        FactorWorld(factors={"tag": FACTORS["tag"]})


def test_export_writes_a_table_that_can_be_read_back(tmp_path):
    table = export_world(WorldConfig(tmp_path / "world", pairs=5, seed=2), progress=False)
    with open(table, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    world = FactorWorld(2)
    assert len(rows) == 5
    for index, row in enumerate(rows):
        pair = world.pair(index)
        assert row["caption"] == pair.caption
        assert {key: row[key] for key in pair.labels} == pair.labels
        assert Image.open(table.parent / row["image"]).tobytes() == pair.image.tobytes()


def test_export_goes_on_where_a_world_was_written_before(tmp_path, monkeypatch):
    def interrupt(self, index):
        raise KeyboardInterrupt

    export_world(WorldConfig(tmp_path, pairs=3, seed=1), progress=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FactorWorld, "pair", interrupt)
        export_world(WorldConfig(tmp_path, pairs=2), progress=False)
    # No table of other pictures than those that are there.
    assert not (tmp_path / "captions.csv").exists()
    table = export_world(WorldConfig(tmp_path, pairs=2), progress=False)
    assert len(table.read_text().splitlines()) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"images", "captions.csv"}


@pytest.mark.parametrize("name", ["captions.csv", "images/000000.png", "notes.txt"])
def test_export_never_touches_a_folder_of_something_else(tmp_path, name):
    (tmp_path / "images").mkdir()
    (tmp_path / name).write_text("image,caption\nbeach.jpg,my holiday\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="is not empty and holds no FactorWorld pairs"):
        export_world(WorldConfig(tmp_path, pairs=1), progress=False)
    assert sorted(tmp_path.rglob("*")) == before
    assert "my holiday" in (tmp_path / name).read_text()


def test_export_where_nothing_can_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file: give a folder"):
        export_world(WorldConfig(tmp_path / "file", pairs=1), progress=False)
    with pytest.raises(UserError, match=r"file/w cannot be written \(.*file is a file"):
        export_world(WorldConfig(tmp_path / "file" / "w", pairs=1), progress=False)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        export_world(WorldConfig(tmp_path / "w", pairs=1), progress=False)


@pytest.mark.parametrize("n_pairs", [0, -1])
def test_a_world_of_no_pairs_is_refused(tmp_path, n_pairs):
    with pytest.raises(UserError, match=f"at least 1 pair, not {n_pairs}"):
        WorldConfig(tmp_path, pairs=n_pairs)


def test_other_pairs_would_be_another_version():
    """What names a store's pairs is their version: with new pairs, change ``WORLD_VERSION``."""
    pairs = json.dumps([FactorWorld(0).describe(index) for index in range(200)])
    digest = sha256(pairs.encode()).hexdigest()[:16]
    # A version that is not listed is a new one.
    known = {"1": "3915a4cdd9906a2e"}
    assert digest == known.get(FactorWorld.version, digest)
