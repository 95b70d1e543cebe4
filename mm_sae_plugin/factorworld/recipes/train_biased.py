"""Variants of the embedded model with a planted association of known strength.

``python -m mm_sae_plugin.factorworld.recipes.train_biased --out runs/biased`` fine-tunes
``factorworld`` on worlds in which gender goes with occupation, once for every strength and seed, so
that an audit can be checked against the truth. What each setting is for:

- In half of the pictures of people nothing tells the occupation, and in half of the captions the
  gender word is hidden. Only there has the one to be guessed from the other. Where a picture shows
  both, a contrastive model gains nothing by the association, and hardly learns it: at strength 0.9
  the gap was 0.8 to 1 nats then, and less the longer it was trained, and is 2.6 now. Fully learned
  it would be log(p / (1 - p)) = 2.94.
- Pairs are independent. In groups of hard negatives, of one occupation each, gender never tells an
  occupation from another (0.2 nats, where pictures show both).

``factorworld-biased`` is the variant of strength 0.9 and seed 0::

    python -m mm_sae_plugin.factorworld.recipes.ship_clip --name factorworld-biased \\
        --checkpoint runs/biased/0.9-0/checkpoint.pt
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from mm_sae_plugin.factorworld.recipes.train_clip import CHECKPOINT, TrainCLIPConfig, train_clip

STRENGTHS = (0.0, 0.5, 0.9)
"""Strengths of the planted association."""
SEEDS = (0, 1, 2)
"""Seeds, of the training world and of the order of the batches."""
_FIRST_WORLD = 3_000


@dataclass(frozen=True)
class TrainBiasedConfig:
    """Which variants are trained, and where they go."""

    out: Path
    """Folder for one folder a variant; what is there already is kept, what is begun is resumed."""
    cache: Path = Path("runs/factorworld-cache")
    """Folder for the drawn images."""
    strengths: tuple[float, ...] = STRENGTHS
    """Strengths of the planted association, 0 to 1."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds."""
    n_processes: int = 2
    """Trainings at a time, each with one thread."""


def variant_config(strength: float, seed: int, out: Path, cache: Path) -> TrainCLIPConfig:
    """Return how one variant is trained, into ``out/STRENGTH-SEED``."""
    return TrainCLIPConfig(
        out=out / f"{strength}-{seed}",
        cache=cache,
        init="factorworld",
        association=strength,
        occupation_drawn=0.5,
        gender_hidden_share=0.5,
        group_size=1,
        n_steps=700,
        batch_size=64,
        n_pairs=12_000,
        lr=1e-3,
        lr_warm_up_steps=100,
        label_steps=0,
        world_seed=_FIRST_WORLD + seed,
        seed=seed,
    )


def train_biased(cfg: TrainBiasedConfig) -> dict[tuple[float, int], Path]:
    """Train the variants; returns strength and seed to the checkpoint."""
    variants = [
        (strength, seed, variant_config(strength, seed, cfg.out, cfg.cache))
        for seed in cfg.seeds
        for strength in cfg.strengths
    ]
    # A forked process would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(cfg.n_processes, get_context("spawn")) as pool:
        _wait(pool.map(_train, [variant for _, _, variant in variants]))
    return {(strength, seed): v.out / CHECKPOINT for strength, seed, v in variants}


def _train(cfg: TrainCLIPConfig) -> None:
    if not _is_finished(cfg):
        train_clip(cfg)


def _is_finished(cfg: TrainCLIPConfig) -> bool:
    import torch

    path = cfg.out / CHECKPOINT
    return path.exists() and torch.load(path, weights_only=True)["step"] == cfg.n_steps


def _wait(results: Iterable[None]) -> None:
    for _ in results:
        pass


if __name__ == "__main__":
    import tyro

    train_biased(tyro.cli(TrainBiasedConfig))
