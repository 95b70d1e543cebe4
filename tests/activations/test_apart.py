"""Shards made by workers, in any order, are the shards that one process makes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.engines import ProcessEngine, ThreadEngine
from mm_sae_plugin.errors import UserError
from tests.activations.pictures import noise_pairs

CFG = ExtractConfig(batch_size=8, shard_size=20, num_workers=0, max_skipped=1.0)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Interrupted:
    """Does the last parts first, and is interrupted before the first one."""

    def map(self, task, parts):
        first, *others = parts
        for part in reversed(others):
            task(part)
        raise KeyboardInterrupt
        yield first


def _lacking(**options):
    # Of images 16 to 23 nothing is left: a span without a shard.
    silent = {f"image {image} said {c}": "" for image in range(16, 24) for c in range(2)}
    return noise_pairs(60, 2, captions=silent, **options)


@pytest.mark.parametrize("engine", [ThreadEngine(3), ProcessEngine(2)])
def test_every_engine_writes_the_same_files(model, tmp_path, engine):
    missing = frozenset({2, 30, *range(40, 48)})
    alone = extract(model, _lacking(missing=missing), tmp_path / "alone", CFG, progress=False)
    store = extract(
        model, _lacking(missing=missing), tmp_path / "apart", CFG, progress=False, engine=engine
    )
    assert store.manifest == alone.manifest and len(store.manifest.skipped) == 26
    assert _files(tmp_path / "apart") == _files(tmp_path / "alone")
    assert len(list((tmp_path / "apart").glob("shard-*"))) > 1


def test_shards_that_were_finished_out_of_order_are_found_again(model, tmp_path):
    alone = extract(model, _lacking(), tmp_path / "alone", CFG, progress=False)
    folder = tmp_path / "apart"
    with pytest.raises(KeyboardInterrupt, match="0 of 60 images are kept"):
        extract(model, _lacking(), folder, CFG, progress=False, engine=Interrupted())
    # One of them is damaged since, and a note alone is no shard.
    damaged = alone.manifest.shards[-1]
    (folder / damaged.file).write_bytes((folder / damaged.file).read_bytes()[:-1])
    log = tmp_path / "log"
    again = extract(
        model, _lacking(log=str(log)), folder, CFG, progress=False, engine=ThreadEngine()
    )
    opened = {int(image) for image in log.read_text().split()}
    first = alone.manifest.shards[0]
    assert opened == {*range(first.stop), *range(damaged.start, damaged.stop)}
    assert again.manifest == alone.manifest
    assert _files(folder) == _files(tmp_path / "alone")


def test_what_an_engine_asks_for_again_is_not_encoded_again(model, tmp_path):
    class Forgetful(ThreadEngine):
        def map(self, task: Any, parts):
            return super().map(lambda part: [task(part), task(part)][1], parts)

    alone = extract(model, _lacking(), tmp_path / "alone", CFG, progress=False)
    log = tmp_path / "log"
    source = _lacking(log=str(log))
    store = extract(model, source, tmp_path / "s", CFG, progress=False, engine=Forgetful())
    assert sorted(map(int, log.read_text().split())) == list(range(60))
    assert store.manifest == alone.manifest
    assert _files(tmp_path / "s") == _files(tmp_path / "alone")


def test_an_image_that_could_not_be_opened_is_tried_again(model, tmp_path):
    alone = extract(model, noise_pairs(60), tmp_path / "alone", CFG, progress=False)
    source = noise_pairs(60, missing=frozenset({50}))
    with pytest.raises(KeyboardInterrupt):
        extract(model, source, tmp_path / "s", CFG, progress=False, engine=Interrupted())
    # One process goes on as well as any engine, and leaves no notes.
    mended = extract(model, noise_pairs(60), tmp_path / "s", CFG, progress=False)
    assert mended.manifest == alone.manifest
    with pytest.raises(KeyboardInterrupt):
        extract(model, source, tmp_path / "t", CFG, progress=False, engine=Interrupted())
    extract(model, noise_pairs(60), tmp_path / "t", CFG, progress=False, engine=ThreadEngine(2))
    assert _files(tmp_path / "s") == _files(tmp_path / "t") == _files(tmp_path / "alone")


def test_strict_runs_and_shares_behave_as_in_one_process(model, tmp_path):
    source = noise_pairs(60, missing=frozenset({33, 50}))
    told = []
    for name, engine in (("alone", None), ("apart", ThreadEngine(2))):
        for cfg in (replace(CFG, strict=True), replace(CFG, max_skipped=0.0)):
            out = tmp_path / f"{name}-{cfg.strict}"
            with pytest.raises(UserError) as raised:
                extract(model, source, out, cfg, progress=False, engine=engine)
            told.append(str(raised.value).replace(str(out), "OUT"))
    assert told[:2] == told[2:]
    assert "id-33: it is missing" in told[0] and "2 of 60 pairs" in told[1]


def test_a_folder_that_workers_have_elsewhere_is_told(model, tmp_path):
    class Elsewhere(ThreadEngine):
        def map(self, task: Any, parts):
            return super().map(replace(task, folder=tmp_path / "elsewhere"), parts)

    with pytest.raises(UserError, match=r"shard-00000.*is not in .*a folder that all machines"):
        extract(model, noise_pairs(9), tmp_path / "s", CFG, progress=False, engine=Elsewhere())
