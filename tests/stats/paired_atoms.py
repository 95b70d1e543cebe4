"""Image–text pairs made of SAELens' synthetic dictionaries: a truth that needs no model.

`sae_lens.synthetic` draws which concepts are there and how strongly, and has an atom (a direction)
for each. Here every concept has two atoms, one a side, which lie near each other, and two known
rates, at which either side shows it. A constant offset parts the sides: the modality gap.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from sae_lens.synthetic import (
    ActivationGenerator,
    FeatureDictionary,
    HierarchyNode,
    create_correlation_matrix_from_correlations,
    hierarchy_modifier,
)
from torch import Tensor

from mm_sae_plugin.factorworld.truth import Rates, drawn_label, said_label
from mm_sae_plugin.modality import MODALITIES, Modality
from tests.stats.fakes import FakeStore

Firing = Literal["independent", "hierarchical", "correlated"]

RATES = (
    *((1.0, 1.0), (0.7, 0.7), (0.4, 0.4)),
    *((1.0, 0.6), (1.0, 0.4), (1.0, 0.15), (1.0, 0.0)),
    *((0.6, 1.0), (0.4, 1.0), (0.15, 1.0), (0.0, 1.0)),
)
"""How often the image shows a concept that is there, and how often the caption does."""


@dataclass(frozen=True)
class AtomWorld:
    """What the pairs are made of."""

    n_pairs: int = 16_000
    """Pairs of one image and one caption."""
    d_in: int = 64
    """Width of the activations."""
    n_each: int = 6
    """Concepts for each entry of `RATES`."""
    base_rate: float = 0.06
    """Probability that a concept is there."""
    gap: float = 1.0
    """Length of the offset of either side from the middle; a concept's atom has length 1."""
    turn: float = 45.0
    """Degrees between the two atoms of a concept."""
    spread: float = 0.15
    """Standard deviation of the strength with which a concept is there; its mean is 1."""
    noise: float = 0.02
    """Standard deviation of the noise in every dimension."""
    firing: Firing = "independent"
    """`hierarchical`: every third concept of equal rates is a kind of which the next two are
    alternatives, so that the three speak for each other. `correlated`: every concept that only
    images show goes with one that both sides always show."""
    seed: int = 0
    """Of everything."""

    @property
    def rates(self) -> dict[str, Rates]:
        """The known rates of every concept, in the order of the atoms."""
        return {
            f"{drawn:g}/{said:g} #{number}": Rates(drawn, said)
            for drawn, said in RATES
            for number in range(self.n_each)
        }

    @property
    def n_atoms(self) -> int:
        """Concepts."""
        return len(RATES) * self.n_each


def paired_atoms(world: AtomWorld) -> FakeStore:
    """Draw the pairs: activations of unit length, with what either side shows as labels."""
    # SAELens draws from torch's own generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(world.seed)
        strengths = _generator(world).sample(world.n_pairs)
        shown = _shown(world, strengths > 0)
        atoms = _atoms(world)
        offset = F.normalize(torch.randn(world.d_in), dim=0) * world.gap
        acts: dict[Modality, Float[Tensor, "n_pairs d_in"]] = {}
        for modality, sign in zip(MODALITIES, (1, -1), strict=True):
            rows = (strengths * shown[modality]) @ atoms[modality] + sign * offset
            acts[modality] = F.normalize(rows + world.noise * torch.randn_like(rows), dim=1)
    return FakeStore(
        acts["image"], acts["text"], torch.arange(world.n_pairs), labels=_labels(world, shown)
    )


def _generator(world: AtomWorld) -> ActivationGenerator:
    """SAELens' generator of which concepts are there, and how strongly."""
    base_rates = torch.full((world.n_atoms,), world.base_rate)
    modifier = correlations = None
    if world.firing == "hierarchical":
        families = range(0, world.n_atoms - 2, 3)
        modifier = hierarchy_modifier([_family(first) for first in families])
        # A kind is as common as its two alternatives together, which fire only where it does.
        for first in families:
            base_rates[first] = 3 * world.base_rate
            base_rates[first + 1 : first + 3] = 0.4
    if world.firing == "correlated":
        shared, image_only = (RATES.index(rates) * world.n_each for rates in ((1, 1), (1, 0)))
        pairs = {(shared + i, image_only + i): 0.8 for i in range(world.n_each)}
        correlations = create_correlation_matrix_from_correlations(world.n_atoms, pairs)
    return ActivationGenerator(
        world.n_atoms,
        base_rates,
        std_firing_magnitudes=world.spread,
        modify_activations=modifier,
        correlation_matrix=correlations,
    )


def _family(first: int) -> HierarchyNode:
    children = [HierarchyNode(first + 1), HierarchyNode(first + 2)]
    return HierarchyNode(first, children, mutually_exclusive_children=True)


def _shown(
    world: AtomWorld, there: Bool[Tensor, "n_pairs n_atoms"]
) -> dict[Modality, Bool[Tensor, "n_pairs n_atoms"]]:
    """Which of the concepts that are there either side shows, independently of the other."""
    rates = list(world.rates.values())
    drawn, said = (torch.tensor([getattr(r, side) for r in rates]) for side in ("drawn", "said"))
    return {
        "image": there & (torch.rand(there.shape) < drawn),
        "text": there & (torch.rand(there.shape) < said),
    }


def _atoms(world: AtomWorld) -> dict[Modality, Float[Tensor, "n_atoms d_in"]]:
    """Unit directions of SAELens' dictionary for images, and as many turned away for captions."""
    image = FeatureDictionary(world.n_atoms, world.d_in, seed=world.seed).feature_vectors.detach()
    away = torch.randn_like(image)
    away = F.normalize(away - (away * image).sum(1, keepdim=True) * image, dim=1)
    angle = math.radians(world.turn)
    return {"image": image, "text": math.cos(angle) * image + math.sin(angle) * away}


def _labels(
    world: AtomWorld, shown: dict[Modality, Bool[Tensor, "n_pairs n_atoms"]]
) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = {}
    for modality, label_of in zip(MODALITIES, (drawn_label, said_label), strict=True):
        for name, rows in zip(world.rates, shown[modality].T.tolist(), strict=True):
            labels[label_of(name)] = ["shown" if row else "" for row in rows]
    return labels
