"""Rows of one image form a cluster.

Captions of one image are not independent of each other, so every second moment is taken over
images. A shard may end in the middle of an image; what is known of the cut image is then kept
apart until the other half arrives (see `accumulator`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

ImageIds = Sequence[str] | Sequence[int] | Int[Tensor, "batch"] | np.ndarray


@dataclass(frozen=True)
class Runs:
    """Consecutive rows that share an image."""

    ids: Int[Tensor, "clusters"]
    """One 64-bit name per run, int64."""
    lengths: Int[Tensor, "clusters"]
    """Number of rows in each run, int64, at least 1."""


def cluster_runs(image_id: ImageIds) -> Runs:
    """Find the runs of equal image ids.

    Parameters
    ----------
    image_id : sequence of str or int, shape [batch]
        Strings are hashed to 64 bits (a collision among a million images has odds of 1 in 10^8).
    """
    if isinstance(image_id, Tensor):
        ids_b = image_id.detach().to("cpu", torch.int64)
    elif len(image_id) and isinstance(image_id[0], str):
        ids_b = torch.tensor([_hash(str(name)) for name in image_id], dtype=torch.int64)
    else:
        ids_b = torch.as_tensor(np.asarray(image_id, dtype=np.int64))
    ids, lengths = torch.unique_consecutive(ids_b, return_counts=True)
    return Runs(ids=ids, lengths=lengths)


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
