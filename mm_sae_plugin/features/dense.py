"""Codes in the one layout that every statistic understands."""

import torch
from torch import Tensor


def dense_codes(codes: Tensor) -> Tensor:
    """Return codes as a strided tensor: SAEs in training mode may hand over sparse ones."""
    return codes if codes.layout == torch.strided else codes.to_dense()
