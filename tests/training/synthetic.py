"""Pairs of unit-norm embeddings made of sparse atoms whose modality is known."""

import torch
import torch.nn.functional as F
from torch import Tensor


def synthetic_pairs(
    n_pairs: int = 2000,
    d_in: int = 32,
    n_shared: int = 24,
    n_private: int = 12,
    n_active: int = 4,
    gap: float = 0.5,
    noise: float = 0.02,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return image and text activations, unit norm, with a modality gap.

    Each pair shares ``n_active`` atoms and each side adds about ``n_active / 2`` of its own.
    """
    generator = torch.Generator().manual_seed(seed)
    n_atoms = n_shared + 2 * n_private
    atoms = F.normalize(torch.randn(n_atoms, d_in, generator=generator), dim=1)
    offset = F.normalize(torch.randn(d_in, generator=generator), dim=0) * gap

    def codes(n: int, mean_active: float) -> Tensor:
        on = torch.rand(n_pairs, n, generator=generator) < mean_active / n
        return on * (0.5 + torch.rand(n_pairs, n, generator=generator))

    shared = codes(n_shared, n_active) @ atoms[:n_shared]
    sides = []
    for sign, first in ((1.0, n_shared), (-1.0, n_shared + n_private)):
        own = codes(n_private, n_active / 2) @ atoms[first : first + n_private]
        side = shared + own + sign * offset + 0.01
        side = side + noise * torch.randn(n_pairs, d_in, generator=generator)
        sides.append(F.normalize(side, dim=1))
    return sides[0], sides[1]
