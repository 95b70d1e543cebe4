"""The generator's recipe: its data is true, it goes on where it was, and every part learns."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.factorworld.embedded import load_embedded
from mm_sae_plugin.factorworld.generator import load_generator
from mm_sae_plugin.factorworld.recipes import generator_training, train_generator as recipe
from mm_sae_plugin.factorworld.recipes.evaluate_generator import (
    contact_sheet,
    draw,
    faithfulness,
    held_out_scenes,
    nuisance_entropy,
)
from mm_sae_plugin.factorworld.recipes.generator_data import (
    ABSENT,
    batches,
    drawn_labels,
    make_data,
)
from mm_sae_plugin.factorworld.recipes.generator_training import StageConfig, averaged_weights
from mm_sae_plugin.factorworld.recipes.ship_generator import ShipGeneratorConfig, ship_generator
from mm_sae_plugin.factorworld.recipes.train_generator import (
    TrainGeneratorConfig,
    fitted_codec,
    train_generator,
)

_N = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all trainings of this file find the same drawn pairs."""
    return tmp_path_factory.mktemp("generator")


@pytest.fixture(scope="module")
def data(folder):
    return make_data(FactorWorld(4_000), _N, folder / "cache", n_workers=1)


@pytest.fixture
def small(monkeypatch):
    """Leave the sizes of the parts as they are, and make all around them small."""
    monkeypatch.setattr(recipe, "CODEC_PICTURES", 50)
    monkeypatch.setattr(generator_training, "_LOG_EVERY", 2)
    monkeypatch.setattr(generator_training, "_WARM_UP", 5)


def _config(out, stages, **changes):
    stage = StageConfig(n_samples=64, batch_size=8, checkpoint_every=4, bfloat16=False)
    parts: dict[str, Any] = dict.fromkeys(("layout", "unet", "prior"), stage)
    return TrainGeneratorConfig(out=out, stages=stages, n_pairs=_N, **(parts | changes))


def test_the_data_is_what_the_world_draws(data):
    world, clip = FactorWorld(4_000), load_embedded("factorworld")
    for index in (0, 1, 50):
        pair = world.pair(index)
        assert np.array_equal(data.pictures[index], np.asarray(pair.image))
        for name, label in zip(FACTORS, data.labels[index], strict=True):
            drawn = pair.labels[f"drawn.{name}"]
            assert (FACTORS[name].values[label] if label != ABSENT else "") == drawn
        with torch.no_grad():
            image = clip.model.encode_image(clip.preprocess(pair.image)[None])[0]  # type: ignore[operator]
            text = clip.model.encode_text(clip.tokenizer(pair.caption))[0]  # type: ignore[operator]
        for row, expected in ((data.images[index], image), (data.texts[index], text)):
            unit = torch.nn.functional.normalize(expected, dim=0).numpy()
            np.testing.assert_allclose(row, unit, atol=1e-5)


def test_subjects_cover_what_changes_with_the_colour(data):
    from mm_sae_plugin.factorworld.drawing.render import render_scene

    world, found = FactorWorld(4_000), 0
    for index in range(12):
        drawn = world.scene(index).drawn
        other = drawn | {"colour": "red" if drawn["colour"] != "red" else "blue"}
        pictures = [
            np.asarray(render_scene(world.scene(index).kind, values, _drawing_chance(index)))
            for values in (drawn, other)
        ]
        changed = (pictures[0] != pictures[1]).any(-1).reshape(16, 4, 16, 4).any((1, 3))
        assert not (changed & (data.subjects[index] == 0)).any()
        found += int(changed.sum())
    assert found > 100
    assert 0.02 < (data.subjects > 0).mean() < 0.5


def _drawing_chance(index):
    return np.random.default_rng((4_000, index, 1))


def test_batches_go_on_where_they_were():
    all_of_them = batches(20, 4, seed=3)
    whole = [next(all_of_them) for _ in range(12)]
    later = batches(20, 4, seed=3, first=7)
    for batch in whole[7:]:
        assert np.array_equal(next(later), batch)
    assert sorted(np.concatenate(whole[:5])) == list(range(20))


@pytest.mark.parametrize("stage", ["layout", "prior"])
def test_resumed_training_ends_at_the_same_weights(tmp_path, folder, data, small, stage):
    cfg = _config(folder, (stage,))
    train_generator(cfg)
    whole = averaged_weights(folder / f"{stage}.pt")
    (folder / f"{stage}.pt").rename(tmp_path / "whole.pt")
    # The same schedule, but only the first checkpoint of it is reached.
    half = dataclasses.replace(getattr(cfg, stage), n_samples=64)
    calls = iter(range(1_000))
    original = generator_training._follow

    def stop_after_six(*args):
        if next(calls) == 6:
            raise KeyboardInterrupt
        original(*args)

    generator_training._follow = stop_after_six
    try:
        with pytest.raises(KeyboardInterrupt):
            train_generator(dataclasses.replace(cfg, **{stage: half}))
    finally:
        generator_training._follow = original
    train_generator(cfg)
    for name, value in averaged_weights(folder / f"{stage}.pt").items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-6)


def test_every_part_learns_and_the_folder_draws(folder, data, small, capsys, tmp_path):
    for stage in ("layout", "unet", "prior"):
        (folder / f"{stage}.pt").unlink(missing_ok=True)
    stage = StageConfig(
        n_samples=320, batch_size=8, checkpoint_every=40, bfloat16=False, ema=0.8, lr=3e-3
    )
    cfg = _config(folder, ("layout", "unet", "prior"), layout=stage, unet=stage, prior=stage)
    train_generator(cfg)
    told = [line.split() for line in capsys.readouterr().out.splitlines() if " square " in line]
    for part in ("layout", "unet", "prior"):
        losses = [float(line[4]) for line in told if line[0] == part]
        assert len(losses) == 20
        # The UNet begins at the best linear estimate, on which few steps improve little.
        assert np.mean(losses[-10:]) < (0.995 if part == "unet" else 0.9) * np.mean(losses[:4]), (
            part
        )
    out = ship_generator(ShipGeneratorConfig(run=folder, out=tmp_path / "generator"))
    assert sum(path.stat().st_size for path in out.rglob("*")) < 30_000_000
    card = json.loads((tmp_path / "generator.json").read_text())
    assert card["trained"]["unet"]["steps"] == 40
    assert set(card["sha256"]) == {str(p.relative_to(out)) for p in out.rglob("*.safetensors")}
    pipeline = load_generator(out)
    few = {"num_inference_steps": 2, "prior_num_inference_steps": 2}
    pictures = draw(pipeline, ["one red ball", "two cars", "a star"], seed=0, batch_size=2, **few)
    assert pictures.shape == (3, 64, 64, 3)
    # A picture of noise alone has no smooth parts at all.
    assert pictures.std() > 5
    assert contact_sheet(pictures, columns=2).size == (256, 256)


def test_the_codec_is_made_of_the_world_alone(small):
    first, again = fitted_codec(4_000, 40), fitted_codec(4_000, 40)
    assert torch.equal(first.components, again.components)
    assert not torch.equal(first.mean, fitted_codec(4_001, 40).mean)


def test_faithful_counts_only_what_was_said():
    scenes = held_out_scenes(20, ("ground", "object"))
    assert sum("ground" in scene.said for scene in scenes) >= 20
    assert sum("object" in scene.said for scene in scenes) >= 20
    answers = np.stack([drawn_labels(scene) for scene in scenes]).astype(np.int64)
    right = faithfulness(answers, scenes, ("ground", "object"))
    assert right["ground"]["share"] == right["object"]["share"] == 1.0
    assert right["ground"]["n"] == sum("ground" in scene.said for scene in scenes)
    column = list(FACTORS).index("ground")
    answers[::2, column] = (answers[::2, column] + 1) % len(FACTORS["ground"].values)
    asked = [i for i, scene in enumerate(scenes) if "ground" in scene.said]
    expected = np.mean([i % 2 == 1 for i in asked])
    assert faithfulness(answers, scenes, ("ground",))["ground"]["share"] == round(expected, 4)


class _Painter:
    """A pipeline that draws a world's own pictures, or always the first of them."""

    def __init__(self, always_the_same: bool):
        self.world, self.index, self.same = FactorWorld(77), 0, always_the_same

    def __call__(self, prompts, **_):
        start, self.index = self.index, self.index + (0 if self.same else len(prompts))
        indices = [0] * len(prompts) if self.same else range(start, self.index)
        self.images = [self.world.draw(index) for index in indices]
        return self


class _Reader:
    """A classifier that knows the painter's pictures by heart."""

    def __init__(self, n: int):
        self.labels = {
            FactorWorld(77).draw(i).tobytes(): drawn_labels(FactorWorld(77).scene(i))
            for i in range(n)
        }

    def answers(self, pictures):
        return np.stack([self.labels[p.tobytes()] for p in pictures]).astype(np.int64)


def test_entropy_is_one_in_the_world_and_nothing_where_nothing_varies(any_types):
    varied = nuisance_entropy(_Painter(False), _Reader(80), n_prompts=4, n_seeds=20)  # type: ignore[arg-type]
    assert all(0.85 < value < 1.15 for value in varied.values())
    same = nuisance_entropy(_Painter(True), _Reader(80), n_prompts=4, n_seeds=20)  # type: ignore[arg-type]
    assert set(same.values()) == {0.0}
