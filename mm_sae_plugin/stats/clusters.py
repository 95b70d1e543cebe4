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


def mixed_bits(ids: Int[Tensor, "clusters"], seed: int) -> np.ndarray:
    """64 random-looking bits for each image, the same wherever the image is met.

    SplitMix64's finaliser on the id itself, so that no order or sharding matters.

    Parameters
    ----------
    ids : int64
        As `Runs.ids` gives them.
    seed : int
        Another seed gives other bits.

    Returns
    -------
    array of uint64
    """
    bits = ids.numpy().view(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
