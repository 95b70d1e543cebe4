"""The recipe of the classifier: ``python -m mm_sae_plugin.factorworld.recipes.train_classifier``.

It learns every drawn factor from real pictures alone, a little noise and blur laid over them, so
that it reads shapes and not the last digit of a pixel. With ``--ship`` its weights and their
accuracy on held-out pictures go into the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_sae_plugin.factorworld.classifier import (
    FactorClassifier,
    as_pixels,
    classifier_path,
)
from mm_sae_plugin.factorworld.factors import FACTORS
from mm_sae_plugin.factorworld.recipes.generator_data import ABSENT, GeneratorData, make_data
from mm_sae_plugin.factorworld.recipes.generator_training import (
    StageConfig,
    averaged_weights,
    train_stage,
)
from mm_sae_plugin.factorworld.world import FactorWorld
from mm_sae_plugin.files import (
    atomic_path,
    refuse_unwritable,
    sha256_of_file,
    write_json_atomically,
)

CHECKPOINT = "classifier.pt"
"""Name of the checkpoint in the training's folder."""

_LARGEST_NOISE = 0.1
_BLURRED = 0.3
_UNTOUCHED = 0.4
_GRAIN = list(FACTORS).index("grain")


@dataclass(frozen=True)
class TrainClassifierConfig:
    """How the classifier is trained, and measured."""

    out: Path = Path("runs/generator")
    """Folder for the data and the checkpoint, from which a second run of the command goes on."""
    n_pairs: int = 200_000
    """Pictures of the training world."""
    world_seed: int = 4_000
    """Seed of the training world."""
    held_out: int = 4_096
    """Pictures on which the accuracy is measured."""
    held_out_seed: int = 5_000
    """Seed of their world."""
    stage: StageConfig = field(
        default_factory=lambda: StageConfig(n_samples=400_000, batch_size=64, lr=1e-3, ema=0.998)
    )
    """The training."""
    ship: bool = False
    """Write the weights and the card into the package."""


def train_classifier(cfg: TrainClassifierConfig) -> dict[str, float]:
    """Train the classifier; return its accuracy of every factor on held-out pictures."""
    refuse_unwritable(cfg.out / CHECKPOINT, *([classifier_path()] if cfg.ship else []))
    torch.set_num_threads(1)
    torch.manual_seed(cfg.stage.seed)
    data = make_data(FactorWorld(cfg.world_seed), cfg.n_pairs, cfg.out / "cache")
    loss = partial(reading_losses, data=data)
    train_stage(FactorClassifier(), loss, len(data), cfg.stage, cfg.out / CHECKPOINT)
    # The figures are those of the shipped, rounded weights.
    half = {k: v.half() for k, v in averaged_weights(cfg.out / CHECKPOINT).items()}
    model = FactorClassifier().eval()
    model.load_state_dict({k: v.float() for k, v in half.items()})
    held_out = make_data(FactorWorld(cfg.held_out_seed), cfg.held_out, cfg.out / "cache")
    accuracy = reading_accuracy(model, held_out)
    for name, value in accuracy.items():
        print(f"{name} {value:.4f}")
    if cfg.ship:
        _ship(half, accuracy, cfg)
    return accuracy


def reading_losses(
    model: nn.Module, rows: np.ndarray, chance: torch.Generator, data: GeneratorData
) -> dict[str, Float[Tensor, ""]]:
    """Return the cross-entropy of all drawn factors, averaged over factors."""
    assert isinstance(model, FactorClassifier)
    pixels, is_disturbed = _disturb(as_pixels(data.pictures[rows]), chance)
    labels = torch.from_numpy(data.labels[rows]).long()
    # Noise and blur change what grain there is.
    labels[is_disturbed, _GRAIN] = ABSENT
    parts = model(pixels).float().split(model.sizes, dim=1)
    losses = [
        F.cross_entropy(part, labels[:, column], ignore_index=ABSENT)
        for column, part in enumerate(parts)
        if labels[:, column].ne(ABSENT).any()
    ]
    return {"reading": torch.stack(losses).mean()}


def _disturb(
    pixels: Float[Tensor, "batch 3 height width"], chance: torch.Generator
) -> tuple[Float[Tensor, "batch 3 height width"], Bool[Tensor, "batch"]]:
    """Lay noise and blur over most pictures; say which."""
    n = len(pixels)
    is_disturbed = torch.rand(n, generator=chance) >= _UNTOUCHED
    blurred = torch.rand(n, 1, 1, 1, generator=chance) < _BLURRED
    # A third of the neighbours' mean: no outline is lost.
    soft = pixels * 2 / 3 + F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False) / 3
    noise = torch.randn(pixels.shape, generator=chance)
    amount = _LARGEST_NOISE * torch.rand(n, 1, 1, 1, generator=chance) ** 2
    disturbed = torch.where(blurred, soft, pixels) + amount * noise
    return torch.where(is_disturbed[:, None, None, None], disturbed, pixels), is_disturbed


def reading_accuracy(model: FactorClassifier, data: GeneratorData) -> dict[str, float]:
    """Return the share of pictures, of those that show a factor, whose value is read rightly."""
    answers = model.answers(np.array(data.pictures))
    accuracy = {}
    for column, name in enumerate(FACTORS):
        drawn = data.labels[:, column] != ABSENT
        if drawn.any():
            right = answers[drawn, column] == data.labels[drawn, column]
            accuracy[name] = round(float(right.mean()), 4)
    return accuracy


def _ship(half: dict[str, Tensor], accuracy: dict[str, float], cfg: TrainClassifierConfig) -> None:
    from safetensors.torch import save_file

    path = classifier_path()
    with atomic_path(path) as temporary:
        save_file(half, temporary)
    card = {
        "name": path.stem,
        "sha256": sha256_of_file(path),
        "n_parameters": sum(value.numel() for value in half.values()),
        "n_samples": cfg.stage.n_samples,
        "world_seed": cfg.world_seed,
        "held_out": {"n": cfg.held_out, "world_seed": cfg.held_out_seed, "accuracy": accuracy},
    }
    write_json_atomically(path.with_suffix(".json"), card)


if __name__ == "__main__":
    import tyro

    train_classifier(tyro.cli(TrainClassifierConfig))
