"""A second FactorWorld: the same pictures and words at other rates, and a CLIP that learnt them.

Scores and their settings are chosen on FactorWorld and its embedded models; here they can be tried
on rates that nobody looked at. The world draws FactorWorld's factors, with three of them cut to two
values (three more have two anyway), at rates among which both sides are below 1 together, a shared
factor is left unsaid now and then, and a factor with words is never said. ::

    python -m tests.benchmarks.second_world --out runs/second-world

fine-tunes the embedded ``factorworld`` on it (``clip/checkpoint.pt``), measures what it knows of
each factor on held-out pairs (``figures.json``) and extracts a store of other held-out pairs at the
joint embeddings of both towers (``acts``), in this order. The same command goes on where it was
stopped. ``SECOND_FACTORS`` holds the true rates; the store has the labels ``drawn.<factor>`` and
``said.<factor>`` under the names of the first world.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mm_sae_plugin.activations import ActivationStore, extract
from mm_sae_plugin.factorworld import FACTORS, Factor, FactorWorld
from mm_sae_plugin.factorworld.architecture import build_model, build_preprocess, build_tokenizer
from mm_sae_plugin.factorworld.recipes.evaluate_clip import evaluate_clip
from mm_sae_plugin.factorworld.recipes.train_clip import CHECKPOINT, TrainCLIPConfig, train_clip
from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.pairs.world import pairs_of_world

_RATES: dict[str, tuple[float, float]] = {
    # Drawn every time, and said every time, often, or seldom.
    "object": (1, 1),
    "size": (1, 0.8),
    "count": (1, 0.6),
    "colour": (1, 1),
    "place": (1, 1),
    "gender": (1, 1),
    "age": (1, 0.3),
    "occupation": (1, 0.8),
    "ground": (1, 0.6),
    "backdrop": (1, 0.3),
    "lighting": (1, 0.8),
    "weather": (1, 0.6),
    # Drawn and never said; the first world's captions have words for the frame.
    "frame": (1, 0),
    "pattern": (1, 0.3),
    "tilt": (1, 0),
    "grain": (1, 0),
    "skin": (1, 0),
    # Marks, which an image may leave out.
    "weekday": (0.4, 0.4),
    "tag": (0.15, 0.6),
    "opening": (0.3, 1),
    "tone": (0.4, 0.15),
    "sender": (0.4, 0.4),
    "reader": (0.6, 1),
    # Said and never drawn.
    "signoff": (0, 1),
    "ending": (0, 0.6),
}
_TWO_VALUES: dict[str, tuple[str, str]] = {
    "weather": ("sunshine", "rain"),
    "weekday": ("monday", "weekend"),
    "tag": ("#travel", "#food"),
}

SECOND_FACTORS: dict[str, Factor] = {
    name: replace(
        factor,
        values=_TWO_VALUES.get(name, factor.values),
        drawn=_RATES[name][0],
        said=_RATES[name][1],
    )
    for name, factor in FACTORS.items()
}
"""The table of the second world: every factor by name, with its true rates."""

STORE_SEED = 4_000
"""Seed of the pairs in the store; those of the training and of the figures are others."""


@dataclass(frozen=True)
class SecondWorldConfig:
    """Train a CLIP on the second world, and extract a store."""

    out: Path
    """Folder for the checkpoint, the figures, the drawn images and the store."""
    n_steps: int = 1_200
    """Optimizer steps."""
    batch_size: int = 128
    """Training pairs in a batch."""
    n_train_pairs: int = 65_536
    """Pairs to train on."""
    n_figure_pairs: int = 4_000
    """Held-out pairs on which the figures are measured."""
    n_pairs: int = 16_000
    """Held-out pairs in the store."""
    n_threads: int = 1
    """Threads of the training process."""

    @property
    def training(self) -> TrainCLIPConfig:
        """How the model is trained.

        What it starts from can see and read every factor already, so that it is not taught to name
        them: fresh heads would only undo what it has in common between its towers. The groups of
        hard negatives are large, since what a pair shares seldom is learnt from them alone.
        """
        return TrainCLIPConfig(
            out=self.out / "clip",
            cache=self.out / "cache",
            init="factorworld",
            n_steps=self.n_steps,
            batch_size=self.batch_size,
            n_pairs=self.n_train_pairs,
            group_size=32,
            lr=5e-4,
            lr_warm_up_steps=100,
            label_steps=0,
            seed=2,
            n_threads=self.n_threads,
        )


def load_second_clip(out: Path) -> HookedCLIP:
    """Return the model that was trained in the folder ``out``."""
    learned = torch.load(out / "clip" / CHECKPOINT, weights_only=True)["learner"].items()
    model = build_model()
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in learned if k.startswith("model.")}
    )
    name = "factorworld-second"
    return HookedCLIP.wrap(model.eval(), build_tokenizer(), build_preprocess(), name)


def second_world(cfg: SecondWorldConfig) -> ActivationStore:
    """Train, measure and extract; return the store."""
    model = train_clip(cfg.training, SECOND_FACTORS)
    figures = evaluate_clip(model, cfg.n_figure_pairs, SECOND_FACTORS)
    write_json_atomically(cfg.out / "figures.json", figures)
    print(json.dumps(figures, indent=1), flush=True)
    world = FactorWorld(STORE_SEED, factors=SECOND_FACTORS)
    pairs = pairs_of_world(world, cfg.n_pairs)
    return extract(load_second_clip(cfg.out), pairs, cfg.out / "acts")


if __name__ == "__main__":
    import tyro

    second_world(tyro.cli(SecondWorldConfig))
