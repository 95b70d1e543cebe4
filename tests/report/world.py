"""A small FactorWorld store whose latents are its factors' values: a report with no model."""

from dataclasses import dataclass

import torch
from PIL import Image

from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats import (
    ModalityDominance,
    ModalityStatistics,
    TruthCheck,
    compute_modality,
    modality_gap_cosine,
    top_examples,
    truth_check,
)
from mm_sae_plugin.stats.examples import TopExamples
from tests.stats.fakes import FakeStore


class WorldStore(FakeStore):
    """Images drawn when they are asked for."""

    def open_image(self, row: int) -> Image.Image | None:
        return FactorWorld(seed=0).draw(row)


class NoisyMap:
    """Latents with a threshold; the last few are random mixtures, and two never fire."""

    def __init__(self, d_in: int, n_features: int) -> None:
        generator = torch.Generator().manual_seed(0)
        extra = torch.randn(n_features - d_in - 2, d_in, generator=generator) * 0.5
        self.weights = torch.cat([torch.eye(d_in), extra, torch.zeros(2, d_in)])
        self.n_features = n_features

    def encode(self, x: torch.Tensor, modality: Modality) -> torch.Tensor:
        return torch.relu(x @ self.weights.T - 0.75)

    @property
    def directions(self) -> torch.Tensor:
        return self.weights

    def decode(self, codes: torch.Tensor, modality: Modality) -> torch.Tensor:
        return codes @ self.weights


def world_store(n: int) -> WorldStore:
    world = FactorWorld(seed=0)
    pairs = [world.describe(i) for i in range(n)]
    captions, labels = [p[0] for p in pairs], [p[1] for p in pairs]
    names = [(name, value) for name, factor in FACTORS.items() for value in factor.values]

    def rows(kind: str) -> torch.Tensor:
        return torch.tensor(
            [[float(row[f"{kind}.{name}"] == value) for name, value in names] for row in labels]
        )

    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(2, n, len(names), generator=generator) * 0.25
    columns = {name: [row[name] for row in labels] for name in labels[0]}
    return WorldStore(
        rows("drawn") + noise[0], rows("said") + noise[1], torch.arange(n), columns, captions
    )


@dataclass
class Case:
    """Everything that a report is made from."""

    store: WorldStore
    dominance: ModalityDominance
    truth: TruthCheck
    examples: TopExamples


def make_case(n: int = 600, rule: str = "interval", score: str = "ratio_of_means") -> Case:
    from mm_sae_plugin.report.choice import latents_to_show

    store = world_store(n)
    feature_map = NoisyMap(store.images.shape[1], store.images.shape[1] + 30)
    stats = compute_modality(feature_map, store)
    dominance = ModalityDominance.from_statistics(stats, score=score, rule=rule)  # type: ignore[arg-type]
    dominance = dominance.with_gap(modality_gap_cosine(feature_map, stats))
    centred = compute_modality(feature_map, store, centre=stats.mean_acts)
    dominance = dominance.with_centred(ModalityDominance.from_config(centred, dominance.cfg))
    truth = truth_check(feature_map, store, dominance, FACTORS)
    shown = [i for latents in latents_to_show(dominance).values() for i in latents]
    return Case(store, dominance, truth, top_examples(feature_map, store, shown))


def rare_statistics() -> ModalityStatistics:
    """Three latents: one fires on every other pair, one on one caption in 30,000, one never."""
    image = torch.zeros(30_000, 3)
    image[::2, 0] = 1.0
    text = image.clone()
    text[7, 1] = 1.0
    statistics = ModalityStatistics(3)
    statistics.update(image, text, torch.arange(len(image)))
    return statistics
