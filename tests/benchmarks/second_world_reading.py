"""How well labels hold on the second world, which nothing was chosen by.

::

    python -m tests.benchmarks.second_world --out runs/second-world
    python -m tests.benchmarks.second_world_reading --world runs/second-world

The first makes the world and takes half an hour. The second trains dictionaries on its store and
holds the paper's score and carried dominance against the world's own rates: one line each for the
latents that a factor explains at least half and at least a fifth of.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from mm_sae_plugin.activations import ActivationStore
from mm_sae_plugin.features import SAEFeatureMap
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.carried.first_pass import FirstPass, first_sums
from mm_sae_plugin.stats.carried.score import read_carried
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.passes import Reading, run_pass
from mm_sae_plugin.stats.score_check import ScoreCheck, check_scores
from mm_sae_plugin.stats.truth import TruthSums, check_sums
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.benchmarks.second_world import SECOND_FACTORS


@dataclass(frozen=True)
class ReadingConfig:
    """Train dictionaries on the second world's store, and check their labels."""

    world: Path
    """Folder of the second world, with its store ``acts``."""
    sizes: tuple[int, ...] = (256, 512, 1024)
    """Latents of the dictionaries."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the dictionaries."""
    k: int = 16
    """Active latents per row."""


def read_second_world(cfg: ReadingConfig) -> None:
    """Train and print."""
    store = ActivationStore.open(cfg.world / "acts")
    for d_sae in cfg.sizes:
        for seed in cfg.seeds:
            training = MultimodalSAERunnerConfig(d_sae=d_sae, k=cfg.k, seed=seed)
            trained = MultimodalSAETrainingRunner(training, store).run()
            feature_map = SAEFeatureMap(trained.sae, trained.normalization)
            for line in _checked(feature_map, cast(PairedActivations, store)):
                print(f"d_sae {d_sae} seed {seed} {line}", flush=True)


def _checked(feature_map: SAEFeatureMap, store: PairedActivations) -> list[str]:
    n_features = feature_map.n_features
    accumulators = {
        "modality": ModalityStatistics(n_features),
        "truth": TruthSums.of(store, SECOND_FACTORS, n_features),
        **first_sums(store, n_features),
    }
    (taken,) = run_pass(store, [Reading(feature_map, accumulators)])
    (carried,) = read_carried([FirstPass.of(feature_map, taken)], store)
    paper = ModalityDominance.from_statistics(cast(ModalityStatistics, taken["modality"]))
    truth = check_sums(cast(TruthSums, taken["truth"]), paper, SECOND_FACTORS)
    lines = []
    for least in (0.5, 0.2):
        for name, scored in (("carried", carried), ("paper", paper)):
            check = check_scores(
                truth.latents, scored.scores, scored.intervals, SECOND_FACTORS, min_eta2=least
            )
            lines.append(f"explained >= {least}: {name:8}{_told(check)}")
    return lines


def _told(check: ScoreCheck) -> str:
    areas = [
        f"{name} {'-' if area.value is None else format(area.value, '.3f')}"
        for name, area in check.contrasts.items()
    ]
    shares = f"within {check.within or 0:.1%}, coverage {check.coverage or 0:.1%}"
    return f"{', '.join(areas)}; {shares}; {sum(check.n.values())} latents"


if __name__ == "__main__":
    import tyro

    torch.set_num_threads(1)
    read_second_world(tyro.cli(ReadingConfig))
