"""Do both sides of a pair fire a latent together more often than if the pairs were shuffled."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.moments import second_row


@dataclass(frozen=True)
class CoactivationNull:
    """How often both sides fire, beside what shuffled pairs would give."""

    observed: Float[Tensor, "n_features"]
    """float64: pairs on which both sides fire."""
    expected: Float[Tensor, "n_features"]
    """float64: their mean number if images and captions were paired at random."""
    p_value: Float[Tensor, "n_features"]
    """float64: probability that shuffled pairs give as many or more; 1 where a side never fires."""


def coactivation_null(stats: ModalityStatistics) -> CoactivationNull:
    """Compare co-activation with pairs shuffled, image by image, without shuffling any.

    Each image is given the captions of another, which stay together. With one caption an image the
    number of pairs on which both fire is hypergeometric, and the p-value exact. With several, let
    image c have n_c captions, t_c of which fire, and let f_c be 1 where the image fires. Then
    Σ f_c t_c − Σ f_c n_c · (Σ t / Σ n) has mean 0 over permutations of the images and variance
    Σ (f_c − f̄)² Σ (t_c − n_c Σ t / Σ n)² / (N − 1), with N images: captions of one image that fire
    together are no more than one fact. The tail is that of a Poisson number of equal lumps with
    that mean and variance, since sums of rare events are skewed. Where images of many captions fire
    a latent far more often than others, the variance comes out a little small (firing in proportion
    to one to five captions, 7% of unrelated latents have p <= 0.05).

    A latent whose p-value is large is not shown to be unrelated: one that fires rarely is expected
    together in less than one pair, and little can be said of it. Look at `expected` as well.
    """
    second = stats.second()
    both, text = stats.channel("fires_both"), stats.channel("fires_text")
    images_firing = second[second_row("active_images", "image")]
    n_images, n_pairs = stats.n_images, stats.n_pairs
    expected = stats.channel("fires_image") * text / max(n_pairs, 1)
    if n_images == n_pairs:
        return CoactivationNull(both, expected, _hypergeometric(both, images_firing, text, n_pairs))
    share = text / n_pairs
    text_rows = second[second_row("rows", "text")]
    squares = second[second_row("frequency", "text²")]
    residual = squares - 2 * share * text_rows + share**2 * stats.rows_squared
    spread = images_firing - images_firing**2 / n_images
    variance = spread.clamp_min(0) * residual.clamp_min(0) / max(n_images - 1, 1)
    return CoactivationNull(both, expected, _lumps(both, expected, variance))


def _hypergeometric(both: Tensor, image: Tensor, text: Tensor, n: int) -> Tensor:
    from scipy.stats import hypergeom

    found = hypergeom.sf(both.numpy() - 1, n, image.numpy(), text.numpy())
    # Rounding must not leave [0, 1].
    return torch.from_numpy(np.asarray(found).clip(0, 1))


def _lumps(both: Tensor, expected: Tensor, variance: Tensor) -> Tensor:
    from scipy.special import gammainc

    # Rounding leaves a little variance in what is always the same.
    varies = (variance > 1e-9 * expected) & (expected > 0)
    lump = torch.where(varies, variance / expected.clamp_min(1e-300), 1.0)
    found = gammainc((both / lump).numpy(), (expected / lump).numpy())
    return torch.where(varies, torch.from_numpy(found), 1.0)
