"""Halves of one concept find each other."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats.carried.concepts import concept_of, concepts
from mm_sae_plugin.stats.carried.partners import decoder_cosine
from mm_sae_plugin.stats.carried.score import carried_dominance
from tests.stats.carried.worlds import World, world

RATES = [(1.0, 1.0), (1.0, 0.4), (0.15, 1.0), (1.0, 0.0), (0.4, 0.4)]


@dataclass(frozen=True)
class Halves:
    """First a latent of each factor for images, then one for captions."""

    directions: dict[Modality, Tensor]

    @property
    def n_features(self) -> int:
        return 2 * len(self.directions["image"])

    def encode(self, acts: Tensor, modality: Modality) -> Tensor:
        codes = torch.relu(acts @ self.directions[modality].T - 0.5)
        parts = [codes, codes * 0] if modality == "image" else [codes * 0, codes]
        return torch.cat(parts, dim=-1)


def split_latents(pairs: World) -> Halves:
    return Halves(pairs.directions)


def test_each_half_finds_the_other():
    pairs = world(RATES, noise=0.05)
    found = carried_dominance(split_latents(pairs), pairs.store)
    # The fourth factor is never said: its half for captions never fires.
    assert found.partner.tolist() == [5, 6, 7, -1, 9, 0, 1, 2, -1, 4]
    assert found.concept.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 8, 4]
    assert found.partner_correlation[0] == pytest.approx(1, abs=0.01)
    assert found.partner_correlation[3] == 0
    assert found.partner_cosine.isnan().all()  # these latents have no decoder


def test_shuffled_pairs_have_no_partners():
    n_partners, n = 0, 0
    for seed in range(4):
        pairs = world([(1.0, 1.0), (0.4, 1.0), (1.0, 0.4)] * 4, n_pairs=4000, seed=seed)
        order = torch.randperm(4000, generator=torch.Generator().manual_seed(seed))
        shuffled = dataclasses.replace(pairs.store, texts=pairs.store.texts[order])
        found = carried_dominance(split_latents(pairs), shuffled)
        n_partners, n = n_partners + int((found.partner >= 0).sum()), n + len(found.partner)
    assert n_partners <= 0.05 * n


def test_a_latent_that_fires_on_both_sides_needs_no_partner():
    @dataclass(frozen=True)
    class Whole(Halves):
        def encode(self, acts: Tensor, modality: Modality) -> Tensor:
            codes = torch.relu(acts @ self.directions[modality].T - 0.5)
            return torch.cat([codes, 0.9 * codes if modality == "image" else 0 * codes], dim=-1)

    pairs = world([(1.0, 1.0), (1.0, 0.4)], noise=0.05)
    found = carried_dominance(Whole(pairs.directions), pairs.store)
    # The second half only repeats the images; the captions' code of the concept is the first's.
    assert found.partner.tolist() == [-1, -1, 0, 1]


def test_connected_partners_are_one_concept():
    assert concept_of(torch.tensor([-1, 3, 1, 1, 5, -1])).tolist() == [0, 1, 1, 1, 4, 4]
    assert concept_of(torch.full((3,), -1)).tolist() == [0, 1, 2]


def test_a_concept_has_the_mean_score_of_its_latents():
    scores = torch.tensor([0.9, 0.5, float("nan"), 0.1], dtype=torch.float64)
    ends = torch.tensor([[0.8, 1.0], [0.4, 0.6], [0.0, 1.0], [0.0, 0.2]], dtype=torch.float64)
    weights = torch.tensor([3.0, 1.0, 5.0, 1.0], dtype=torch.float64)
    found = concepts(torch.tensor([0, 0, 0, 3]), scores, ends, weights)
    assert list(found) == [0]
    assert found[0].latents == (0, 1, 2)
    assert found[0].score == pytest.approx(0.8)
    assert found[0].interval == pytest.approx((0.7, 0.9))
    nothing = concepts(torch.tensor([0, 0]), scores[[2, 2]], ends[[2, 2]], weights[:2])
    assert np.isnan(nothing[0].score) and nothing[0].interval == (0, 1)


def test_cosines_of_decoder_directions():
    directions = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, -3.0], [0.0, 0.0]])
    cosine = decoder_cosine(directions, torch.tensor([1, 2, -1, 0]))
    assert cosine.tolist()[:2] == pytest.approx([0.5**0.5, -(0.5**0.5)])
    assert cosine[2].isnan() and cosine[3] == 0
    assert decoder_cosine(None, torch.tensor([1, 0])).isnan().all()
