"""From the values that show to pixels: each of them is seen, and nothing else is."""

import numpy as np
from PIL import Image

from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.factorworld.drawing.render import IMAGE_SIZE, render_scene


def test_only_drawn_values_change_the_image():
    scene = FactorWorld(0).scene(0)
    base = _pixels(render_scene(scene.kind, scene.drawn, np.random.default_rng(0)))
    for name, factor in FACTORS.items():
        if scene.kind not in factor.scenes or factor.drawn == 0:
            continue
        seen = set()
        for value in factor.values:
            rng = np.random.default_rng(0)
            image = render_scene(scene.kind, scene.drawn | {name: value}, rng)
            seen.add(image.tobytes())
            changed = np.abs(_pixels(image) - base).max(axis=-1) > 8
            if value != scene.drawn.get(name) and name != "grain":
                # Large enough to be seen at the models' input size.
                assert changed.sum() >= 15, (name, value)
        assert len(seen) == len(factor.values), name


def test_a_mark_that_is_absent_is_left_out():
    scene = FactorWorld(0).scene(0)
    always = {name: v for name, v in scene.drawn.items() if FACTORS[name].drawn == 1}
    bare = render_scene(scene.kind, always, np.random.default_rng(0))
    marked = render_scene(scene.kind, always | {"weekday": "monday"}, np.random.default_rng(0))
    changed = (_pixels(bare) != _pixels(marked)).any(axis=-1)
    # A mark takes its place on the card and no more.
    assert 15 <= changed.sum() < IMAGE_SIZE**2 / 4


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)
