"""What SAEs that are trained on pairs are for: one latent for a concept that both sides show."""

from dataclasses import dataclass

import pytest
import torch

from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.stats.compute import compute_modality
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.training import MultimodalSAERunnerConfig
from tests.saes.shared_latents import SharedLatents, shared_latents
from tests.stats.atoms_truth import latents_that_follow, split_concepts, train
from tests.stats.paired_atoms import AtomWorld, paired_atoms

WORLD = AtomWorld(n_pairs=4000)


@dataclass(frozen=True)
class Trained:
    """An SAE on paired atoms, and how it divides the concepts that both sides always show."""

    shared: SharedLatents
    n_split: int
    explained: float


def _trained(store, architecture: str) -> Trained:
    cfg = MultimodalSAERunnerConfig(architecture=architecture, d_sae=256, k=4, training_steps=300)
    feature_map = train(store, cfg)
    shared = [name for name in WORLD.rates if name.startswith("1/1 ")]
    paper = ModalityDominance.from_statistics(compute_modality(feature_map, store))
    split = split_concepts(latents_that_follow(feature_map, store, paper, WORLD.rates))
    return Trained(
        shared_latents(feature_map, store, shared),
        len(set(split) & set(shared)),
        _explained(feature_map, store),
    )


def _explained(feature_map: SAEFeatureMap, store) -> float:
    shares = []
    for acts in (store.images, store.texts):
        error = (feature_map.sae(acts) - acts).square().sum()
        shares.append(1 - float(error / (acts - acts.mean(0)).square().sum()))
    return min(shares)


@pytest.fixture(scope="module")
def trained():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    store = paired_atoms(WORLD)
    yield {name: _trained(store, name) for name in ("topk", "aligned_topk", "group_topk")}
    torch.set_num_threads(before)


def test_report(trained):
    for name, result in trained.items():
        print(name, result, result.shared.share)
