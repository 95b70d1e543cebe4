"""What a score would be if images and captions were interchangeable.

The swap null exchanges the two sides of each image's pairs by a fair coin. Under it every score is
symmetric around 1/2 with a known spread, so no resampling is needed for a p-value; a swapped copy
of the data (`compute_modality(..., swap_seed=)`) shows how many labels chance alone would give.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.clusters import ImageIds, cluster_runs, mixed_bits
from mm_sae_plugin.stats.moments import second_row
from mm_sae_plugin.stats.scores import ScoreName


@dataclass(frozen=True)
class SwapNull:
    """How far each score lies from what swapped sides would give."""

    std: Float[Tensor, "n_features"]
    """Standard deviation of the score under the swaps (its mean is 1/2); NaN if it never fires."""
    z: Float[Tensor, "n_features"]
    """(score − 1/2) / std; 0 where the latent never fires."""
    p_value: Float[Tensor, "n_features"]
    """Two-sided, by the normal approximation over images; 1 where the latent never fires."""


def swap_null(stats: ModalityStatistics, score: ScoreName = "mean_of_ratios") -> SwapNull:
    """Compare a score with modality swapped within pairs, image by image, exactly.

    Swapping image c changes the sign of D_c = I_c − T_c and leaves I_c + T_c as it is, hence
    score − 1/2 = Σ ± D_c / (2 Σ (I_c + T_c)) has mean 0 and variance Σ D_c² / (2 Σ (I_c + T_c))².
    """
    image, text = stats.sides(score)
    second = stats.second()
    ii, it, tt = (second[second_row(score, w)] for w in ("image²", "image·text", "text²"))
    spread = (ii - 2 * it + tt).clamp_min(0).sqrt()
    total = image + text
    std = torch.where(total > 0, spread / (2 * total.clamp_min(1e-300)), torch.nan)
    z = torch.where(spread > 0, (image - text) / spread.clamp_min(1e-300), 0.0)
    return SwapNull(std=std, z=z, p_value=torch.erfc(z.abs() / 2**0.5))


def swap_mask(image_id: ImageIds, seed: int) -> Bool[Tensor, "batch"]:
    """Which rows to swap: one fair coin per image, the same wherever the image is met.

    Parameters
    ----------
    image_id : sequence of str or int, or int tensor, shape [batch]
    seed : int
        Another seed throws other coins.
    """
    runs = cluster_runs(image_id)
    coins = torch.from_numpy((mixed_bits(runs.ids, seed) & np.uint64(1)).astype(bool))
    return coins.repeat_interleave(runs.lengths)


def coactivation_lift(stats: ModalityStatistics) -> Float[Tensor, "n_features"]:
    """How much more often both sides fire together than in shuffled pairs.

    Returns
    -------
    float64
        P(both) / (P(image) P(text)): 1 is chance, NaN where a side never fires. A balanced latent
        near 1 is equal but unrelated, not cross-modal.
    """
    image, text = stats.sides("frequency")
    expected = image * text / max(stats.n_pairs, 1)
    both = stats.channel("fires_both")
    return torch.where(expected > 0, both / expected.clamp_min(1e-300), torch.nan)
