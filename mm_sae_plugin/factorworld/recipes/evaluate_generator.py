"""What a generator draws of what it is asked.

``python -m mm_sae_plugin.factorworld.recipes.evaluate_generator --out DIR`` measures the package's.

The classifier, which shares nothing with the generator, reads its pictures. *Faithful* is the share
of held-out prompts that say a factor and whose picture shows what they say. *Entropy* is how much
the factors that a prompt leaves open vary over seeds, in units of how much they vary in the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from tqdm import tqdm

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.captions import write_caption
from mm_sae_plugin.factorworld.classifier import FactorClassifier, load_classifier
from mm_sae_plugin.factorworld.factors import FACTORS, SHARED_FACTORS
from mm_sae_plugin.factorworld.generator.folder import (
    DEFAULTS,
    GENERATOR_FOLDER,
    NO_CALLBACK,
    load_generator,
)
from mm_sae_plugin.factorworld.world import FactorWorld, Scene
from mm_sae_plugin.files import refuse_unwritable, write_json_atomically

if TYPE_CHECKING:
    from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_combined import (
        KandinskyV22CombinedPipeline,
    )

JUDGED: tuple[str, ...] = (*SHARED_FACTORS, "ground", "backdrop", "lighting")
"""The factors of which a picture must show what the prompt says."""
NUISANCES: tuple[str, ...] = ("ground", "backdrop", "lighting", "weather", "frame", "pattern")
"""The factors that vary over seeds where the prompt leaves them open."""
PROMPT_SEED = 7_000
"""Seed of the world of the prompts, from which no model has seen a pair."""

_BATCH = 50
_SHEET_COLUMNS = 10
_SHEET_SCALE = 2


@dataclass(frozen=True)
class EvaluateGeneratorConfig:
    """Which generator is measured, and on how many prompts."""

    out: Path
    """Folder for ``generator.json`` and ``contact_sheet.png``."""
    folder: Path = GENERATOR_FOLDER
    """The generator."""
    n_prompts: int = 500
    """Prompts for every factor."""
    n_open_prompts: int = 10
    """Prompts of the entropy, which leave all but the shared factors open."""
    n_seeds: int = 50
    """Pictures of each of them."""
    n_threads: int = 1
    """Threads of the process."""

    def __post_init__(self) -> None:
        """Refuse numbers of which no share can be taken."""
        if min(self.n_prompts, self.n_open_prompts) < 1 or self.n_seeds < 2:
            raise UserError(
                "A generator is measured on one prompt of each kind at least, and what varies over "
                "seeds on two."
            )


def evaluate_generator(cfg: EvaluateGeneratorConfig) -> dict[str, Any]:
    """Measure a generator; write the figures and a contact sheet; return the figures."""
    figures_path, sheet_path = cfg.out / "generator.json", cfg.out / "contact_sheet.png"
    refuse_unwritable(figures_path, sheet_path)
    torch.set_num_threads(cfg.n_threads)
    pipeline, classifier = load_generator(cfg.folder), load_classifier()
    scenes = held_out_scenes(cfg.n_prompts)
    prompts = [scene.caption for scene in scenes]
    pictures = draw(pipeline, prompts, seed=0)
    figures = {
        "faithful": faithfulness(classifier.answers(pictures), scenes),
        "entropy": nuisance_entropy(pipeline, classifier, cfg.n_open_prompts, cfg.n_seeds),
    }
    write_json_atomically(figures_path, figures)
    contact_sheet(pictures[: 6 * _SHEET_COLUMNS]).save(sheet_path)
    return figures


def held_out_scenes(n_prompts: int, factors: Sequence[str] = JUDGED) -> list[Scene]:
    """Return scenes of the prompt world, until ``n_prompts`` captions say each of ``factors``."""
    world, scenes, index = FactorWorld(PROMPT_SEED), [], 0
    missing = dict.fromkeys(factors, n_prompts)
    while missing:
        scene = world.scene(index)
        index += 1
        if missing.keys() & scene.said.keys():
            scenes.append(scene)
            missing = {n: left - (n in scene.said) for n, left in missing.items()}
            missing = {n: left for n, left in missing.items() if left > 0}
    return scenes


def draw(
    pipeline: KandinskyV22CombinedPipeline,
    prompts: Sequence[str],
    seed: int,
    batch_size: int = _BATCH,
    **changes: Any,
) -> UInt8[np.ndarray, "n height width 3"]:
    """Return a picture of each prompt; ``changes`` to ``DEFAULTS`` go to the pipeline."""
    chance = torch.Generator().manual_seed(seed)
    pictures = []
    for start in tqdm(range(0, len(prompts), batch_size), "drawing"):
        batch = list(prompts[start : start + batch_size])
        arguments: dict[str, Any] = {**DEFAULTS, **NO_CALLBACK, **changes}
        drawn: Any = pipeline(batch, generator=chance, **arguments)
        pictures += [np.asarray(picture) for picture in drawn.images]
    return np.stack(pictures)


def faithfulness(
    answers: Int[np.ndarray, "n n_factors"],
    scenes: Sequence[Scene],
    factors: Sequence[str] = JUDGED,
) -> dict[str, dict[str, float | int]]:
    """Return, for each factor, the share of pictures that show what was said, of those asked."""
    figures = {}
    for name in factors:
        column, values = list(FACTORS).index(name), FACTORS[name].values
        asked = [(i, scene.said[name]) for i, scene in enumerate(scenes) if name in scene.said]
        right = [values[answers[i, column]] == value for i, value in asked]
        figures[name] = {"share": round(float(np.mean(right)), 4), "n": len(asked)}
    return figures


def nuisance_entropy(
    pipeline: KandinskyV22CombinedPipeline,
    classifier: FactorClassifier,
    n_prompts: int,
    n_seeds: int,
) -> dict[str, float]:
    """Return the mean entropy of each open factor over seeds, as a share of the world's.

    The world's is that of as many scenes, so that the bias of few draws is the same on both sides.
    """
    world = FactorWorld(PROMPT_SEED + 1)
    said = [
        {name: value for name, value in world.scene(i).said.items() if name not in NUISANCES}
        for i in range(n_prompts)
    ]
    prompts = [write_caption(values) for values in said for _ in range(n_seeds)]
    answers = classifier.answers(draw(pipeline, prompts, seed=1))
    figures = {}
    for name in NUISANCES:
        column, values = list(FACTORS).index(name), FACTORS[name].values
        drawn = answers[:, column].reshape(n_prompts, n_seeds)
        scenes = [world.scene(n_prompts + i).drawn[name] for i in range(n_prompts * n_seeds)]
        real = np.array([values.index(value) for value in scenes]).reshape(n_prompts, n_seeds)
        figures[name] = round(_mean_entropy(drawn) / _mean_entropy(real), 4)
    return figures


def _mean_entropy(rows: Int[np.ndarray, "n_prompts n_seeds"]) -> float:
    entropies = []
    for row in rows:
        share = np.bincount(row) / len(row)
        share = share[share > 0]
        entropies.append(-(share * np.log(share)).sum())
    return float(np.mean(entropies))


def contact_sheet(
    pictures: UInt8[np.ndarray, "n height width 3"], columns: int = _SHEET_COLUMNS
) -> Image.Image:
    """Return pictures in rows, each enlarged."""
    n, height, width, _ = pictures.shape
    rows = -(-n // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, picture in enumerate(pictures):
        place = (index % columns * width, index // columns * height)
        sheet.paste(Image.fromarray(picture), place)
    size = (sheet.width * _SHEET_SCALE, sheet.height * _SHEET_SCALE)
    return sheet.resize(size, Image.Resampling.NEAREST)


if __name__ == "__main__":
    import tyro

    print(evaluate_generator(tyro.cli(EvaluateGeneratorConfig)))
