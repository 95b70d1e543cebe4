r"""The recipe of the embedded generator: ``python -m mm_sae_plugin.factorworld.recipes.train_generator``.

Three parts learn one after another, each from the cached pairs of one world: the layout net
(``generator_layout``), which says where things stand; the UNet (``generator_unet``), which sharpens
that; and the prior (``generator_prior``), which turns a caption's embedding into a picture's. Every
part goes on from its checkpoint when the same command is started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from mm_sae_plugin.factorworld.generator.codec import PatchCodec
from mm_sae_plugin.factorworld.generator.layout import LayoutNet
from mm_sae_plugin.factorworld.recipes.generator_data import GeneratorData, make_data
from mm_sae_plugin.factorworld.recipes.generator_layout import (
    LayoutLearner,
    as_pixels,
    layout_losses,
)
from mm_sae_plugin.factorworld.recipes.generator_training import StageConfig, train_stage
from mm_sae_plugin.factorworld.world import FactorWorld

_CODEC_PICTURES = 4_000


@dataclass(frozen=True)
class TrainGeneratorConfig:
    """How the embedded generator is trained."""

    out: Path = Path("runs/generator")
    """Folder for the data and the checkpoints, from which a second run of the command goes on."""
    stages: tuple[str, ...] = ("layout", "unet", "prior")
    """Which parts to train, in this order."""
    n_pairs: int = 200_000
    """Pairs of the training world."""
    world_seed: int = 4_000
    """Seed of the training world; the models that read and judge were trained on others."""
    layout: StageConfig = StageConfig(n_samples=900_000, batch_size=64, lr=1.5e-3)
    """The training of the layout net."""
    n_threads: int = 1
    """Threads of the training process."""


def train_generator(cfg: TrainGeneratorConfig) -> None:
    """Train the parts of the generator that ``cfg.stages`` names."""
    torch.set_num_threads(cfg.n_threads)
    data = make_data(FactorWorld(cfg.world_seed), cfg.n_pairs, cfg.out / "cache")
    codec = fitted_codec(data)
    for stage in cfg.stages:
        _STAGES[stage](cfg, codec, data)


def fitted_codec(data: GeneratorData) -> PatchCodec:
    """Return the codec of the first pictures."""
    return PatchCodec().fit(as_pixels(data.pictures[:_CODEC_PICTURES]))


def _train_layout(cfg: TrainGeneratorConfig, codec: PatchCodec, data: GeneratorData) -> None:
    torch.manual_seed(cfg.layout.seed)
    loss = partial(layout_losses, codec=codec, data=data)
    learner = LayoutLearner(LayoutNet())
    train_stage(learner, loss, len(data), cfg.layout, cfg.out / "layout.pt")


_STAGES = {"layout": _train_layout}


if __name__ == "__main__":
    import tyro

    train_generator(tyro.cli(TrainGeneratorConfig))
