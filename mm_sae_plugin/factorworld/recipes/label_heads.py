"""A head start for the towers: naming what is drawn and said, while contrast has yet to take hold.

A small transformer learns fine shapes from contrast alone only after very many pairs. Naming the
values of the factors teaches each tower to see and read them within a few hundred steps. The weight
of this loss falls to zero early, so that what the finished model keeps of each factor is decided by
contrast: by how often image and caption share it.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from mm_sae_plugin.factorworld.factors import Factor
from mm_sae_plugin.factorworld.world import FactorWorld

_ABSENT = -100  # What cross_entropy ignores.
_N_SIDES = 2  # What is drawn, and what is said.


def label_table(world: FactorWorld, n_pairs: int) -> Int[Tensor, "n_pairs 2 n_factors"]:
    """Return the number of each drawn and each said value, or -100 where a factor is absent."""
    table = torch.full((n_pairs, 2, len(world.factors)), _ABSENT, dtype=torch.int16)
    for index in tqdm(range(n_pairs), "labels"):
        scene = world.scene(index)
        for side, values in enumerate((scene.drawn, scene.said)):
            for column, factor in enumerate(world.factors.values()):
                if factor.name in values:
                    table[index, side, column] = factor.values.index(values[factor.name])
    return table


class LabelHeads(nn.Module):
    """One linear classifier of every factor on each side's joint embedding."""

    def __init__(self, d_joint: int, factors: Mapping[str, Factor]):
        super().__init__()
        self.sizes = [len(factor.values) for factor in factors.values()]
        self.heads = nn.ModuleList([nn.Linear(d_joint, sum(self.sizes)) for _ in range(_N_SIDES)])

    def forward(
        self,
        image: Float[Tensor, "batch d_joint"],
        text: Float[Tensor, "batch d_joint"],
        labels: Int[Tensor, "batch 2 n_factors"],
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy of all factors, summed over factors, averaged over pairs."""
        losses = [
            F.cross_entropy(logits, labels[:, side, column].long(), reduction="sum")
            for side, rows in enumerate((image, text))
            for column, logits in enumerate(self.heads[side](rows).split(self.sizes, dim=1))
        ]
        return torch.stack(losses).sum() / len(image)
