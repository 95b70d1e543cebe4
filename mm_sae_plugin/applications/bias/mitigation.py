"""Two ways of taking a group out of vectors that need no SAE: rivals of removing latents."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def leading(first: Float[Tensor, "n d"], second: Float[Tensor, "m d"]) -> Float[Tensor, "d"]:
    """Return the unit-length direction from the mean of the second to that of the first."""
    return normalize(first.mean(0) - second.mean(0), dim=0)


@dataclass(frozen=True)
class Projection:
    """Vectors without their part along the direction, and of unit length again.

    The bias subspace of Bolukbasi et al. 2016 (arXiv 1607.06520), of one dimension.
    """

    direction: Float[Tensor, "d"]
    """Unit length."""

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return unit-length rows without the direction."""
        return normalize(rows - (rows @ self.direction)[:, None] * self.direction, dim=1)


@dataclass(frozen=True)
class Balancing:
    """Rows whose part along the direction is that of all rows together.

    So none of several prompts leans more to one group than another does.
    """

    direction: Float[Tensor, "d"]
    """Unit length."""

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return unit-length rows that all lean equally."""
        along = rows @ self.direction
        return normalize(rows - (along - along.mean())[:, None] * self.direction, dim=1)
