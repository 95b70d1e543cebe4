"""Ways of taking a group out of vectors: by latents, and two that need no SAE.

All are fitted on one half of the data and judged on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

_TINY = 1e-12


@dataclass(frozen=True)
class Projection:
    """Vectors without their part along a direction, and of unit length again.

    The direction leads from the mean of one group to that of the other (the bias subspace of
    Bolukbasi et al. 2016, arXiv 1607.06520, of one dimension).
    """

    direction: Float[Tensor, "d"]
    """Unit length."""

    @classmethod
    def between(cls, first: Float[Tensor, "n d"], second: Float[Tensor, "m d"]) -> Projection:
        """Lead from the mean of one group to that of the other."""
        return cls(normalize(first.mean(0) - second.mean(0), dim=0))

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return unit-length rows without the direction."""
        return normalize(rows - (rows @ self.direction)[:, None] * self.direction, dim=1)


@dataclass(frozen=True)
class BalancedPrompts:
    """Prompts whose part between two sets of group words is that of all prompts together.

    A text-side rival in the manner of prompt debiasing (2603.19028 edits the codes of a text SAE;
    here the prompts' own vectors are balanced): along the direction between the words of the
    groups every prompt gets the mean of all prompts, so none leans more to a group than another.
    """

    direction: Float[Tensor, "d"]
    """Unit length, from the words of one group to those of the other."""

    @classmethod
    def between(cls, first: Float[Tensor, "n d"], second: Float[Tensor, "m d"]) -> BalancedPrompts:
        """Lead from the words of one group to those of the other."""
        return cls(normalize(first.mean(0) - second.mean(0), dim=0))

    def __call__(self, prompts: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return unit-length prompts that all lean equally."""
        along = prompts @ self.direction
        return normalize(prompts - (along - along.mean())[:, None] * self.direction, dim=1)
