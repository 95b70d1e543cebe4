"""The recipe of the generator: ``python -m mm_sae_plugin.factorworld.recipes.train_generator``.

Three parts learn one after another, each from the cached pairs of one world: the layout net
(``generator_layout``), which says where things stand; the UNet (``generator_unet``), which sharpens
that; and the prior (``generator_prior``), which turns a caption's embedding into a picture's. Every
part goes on from its checkpoint when the same command is started again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mm_sae_plugin.factorworld.classifier import as_pixels
from mm_sae_plugin.factorworld.generator.codec import PatchCodec
from mm_sae_plugin.factorworld.generator.layout import LayoutNet
from mm_sae_plugin.factorworld.generator.prior import build_prior
from mm_sae_plugin.factorworld.generator.unet import LayoutUNet
from mm_sae_plugin.factorworld.recipes.generator_data import GeneratorData, make_data
from mm_sae_plugin.factorworld.recipes.generator_layout import LayoutLearner, layout_losses
from mm_sae_plugin.factorworld.recipes.generator_prior import (
    empty_caption,
    prior_losses,
    standardise,
)
from mm_sae_plugin.factorworld.recipes.generator_training import (
    StageConfig,
    averaged_weights,
    train_stage,
)
from mm_sae_plugin.factorworld.recipes.generator_unet import cache_layouts, unet_losses
from mm_sae_plugin.factorworld.world import FactorWorld
from mm_sae_plugin.files import refuse_unwritable

CODEC_PICTURES = 4_000
"""Pictures from which the codec is made."""


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
    layout: StageConfig = field(
        default_factory=lambda: StageConfig(n_samples=450_000, batch_size=64, lr=1.5e-3)
    )
    """The training of the layout net."""
    unet: StageConfig = field(
        default_factory=lambda: StageConfig(n_samples=1_000_000, batch_size=32, lr=8e-4, ema=0.9998)
    )
    """The training of the UNet."""
    prior: StageConfig = field(
        default_factory=lambda: StageConfig(n_samples=1_500_000, batch_size=256, lr=1e-3, ema=0.999)
    )
    """The training of the prior."""
    n_threads: int = 1
    """Threads of the training process."""


def train_generator(cfg: TrainGeneratorConfig) -> None:
    """Train the parts of the generator that ``cfg.stages`` names."""
    refuse_unwritable(*(cfg.out / f"{stage}.pt" for stage in cfg.stages))
    torch.set_num_threads(cfg.n_threads)
    data = make_data(FactorWorld(cfg.world_seed), cfg.n_pairs, cfg.out / "cache")
    codec = fitted_codec(cfg.world_seed)
    for stage in cfg.stages:
        _STAGES[stage](cfg, codec, data)


def fitted_codec(world_seed: int, n_pictures: int | None = None) -> PatchCodec:
    """Return the codec of the first pictures of a world, ``CODEC_PICTURES`` unless told."""
    world = FactorWorld(world_seed)
    pictures = np.stack(
        [np.asarray(world.draw(index)) for index in range(n_pictures or CODEC_PICTURES)]
    )
    return PatchCodec().fit(as_pixels(pictures))


def _train_layout(cfg: TrainGeneratorConfig, codec: PatchCodec, data: GeneratorData) -> None:
    torch.manual_seed(cfg.layout.seed)
    loss = partial(layout_losses, codec=codec, data=data)
    learner = LayoutLearner(LayoutNet())
    train_stage(learner, loss, len(data), cfg.layout, cfg.out / "layout.pt")


def _train_unet(cfg: TrainGeneratorConfig, codec: PatchCodec, data: GeneratorData) -> None:
    torch.manual_seed(cfg.unet.seed)
    unet = LayoutUNet()
    unet.layout.load_state_dict(trained_layout(cfg.out).state_dict())
    unet.layout.requires_grad_(False)
    layouts = cache_layouts(unet, codec, data, cfg.out / "cache" / "layouts", cfg.unet.bfloat16)
    with torch.no_grad():
        empty = unet.lay_out(torch.zeros(1, data.images.shape[1]))
    loss = partial(unet_losses, codec=codec, data=data, layouts=layouts, empty=empty)
    train_stage(unet, loss, len(data), cfg.unet, cfg.out / "unet.pt")


def trained_layout(out: Path) -> LayoutNet:
    """Return the layout net of a training's folder, with its averaged weights."""
    learner = LayoutLearner(LayoutNet())
    learner.load_state_dict(averaged_weights(out / "layout.pt"))
    return learner.layout.eval()


def _train_prior(cfg: TrainGeneratorConfig, codec: PatchCodec, data: GeneratorData) -> None:
    torch.manual_seed(cfg.prior.seed)
    prior = build_prior()
    standardise(prior, data)
    loss = partial(prior_losses, data=data, empty=empty_caption())
    train_stage(prior, loss, len(data), cfg.prior, cfg.out / "prior.pt")


_STAGES = {"layout": _train_layout, "unet": _train_unet, "prior": _train_prior}


if __name__ == "__main__":
    import tyro

    train_generator(tyro.cli(TrainGeneratorConfig))
