"""Which images are held together, and which readers read them.

Each image belongs to one of a few groups by a hash of its id. Even groups are read by probes that
were fitted on odd ones and the other way round, so that no probe is read on what it was fitted on;
leaving out one group at a time gives the intervals, clustered by image.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mm_sae_plugin.stats.clusters import cluster_runs, mixed_bits

N_GROUPS = 10
"""Groups of images that the jackknife leaves out one by one."""
N_FOLDS = 2
"""Halves that read each other."""
_SEED = 20


def image_groups(image_index: Int[Tensor, "batch"]) -> Int[Tensor, "batch"]:
    """Group of each row's image, 0 to `N_GROUPS` − 1."""
    runs = cluster_runs(image_index)
    groups = (mixed_bits(runs.ids, _SEED) % np.uint64(N_GROUPS)).astype(np.int64)
    return torch.from_numpy(groups).repeat_interleave(runs.lengths)


def fold_of(groups: Int[Tensor, "batch"]) -> Int[Tensor, "batch"]:
    """Half that each group belongs to."""
    return groups % N_FOLDS
