"""Confidence intervals for ratios of sums, clustered by image.

A score is R = I / (I + T) with I and T sums over images. The delta method gives its variance from
the residuals (1 - R) I_c - R T_c of each image c. A symmetric interval around R would leave [0, 1]
and cover badly near its ends, so the variance is turned into an effective number of independent
trials and Wilson's score interval is taken at that number (Korn and Graubard 1998 do the same for
surveys). At R = 0 or 1 the variance says nothing and Kish's effective number of images is used.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.moments import SIDES, second_row
from mm_sae_plugin.stats.scores import SCORES, ScoreName


def score_values(stats: ModalityStatistics, score: ScoreName) -> Float[Tensor, "n_features"]:
    """Point estimate of a score: 0 all text, 1 all image, NaN where the latent never fires."""
    image, text = stats.sides(score)
    return _ratio(image, image + text)


def score_variance(stats: ModalityStatistics, score: ScoreName) -> Float[Tensor, "n_features"]:
    """Delta-method variance of a score, clustered by image; NaN where the latent never fires."""
    image, text = stats.sides(score)
    r = _ratio(image, image + text)
    second = stats.second()
    ii, it, tt = (second[second_row(score, w)] for w in ("image²", "image·text", "text²"))
    residual = ((1 - r) ** 2 * ii - 2 * r * (1 - r) * it + r**2 * tt).clamp_min(0)
    active = second[second_row("active_images", "either")]
    # Only images on which the latent fires carry information about its ratio.
    return _ratio(residual, (image + text) ** 2) * active / (active - 1).clamp_min(1)


def score_intervals(
    stats: ModalityStatistics, score: ScoreName, confidence: float = 0.95
) -> Float[Tensor, "n_features 2"]:
    """Interval of a score; [0, 1] where the latent never fires."""
    image, text = stats.sides(score)
    second = stats.second()
    ii, it, tt = (second[second_row(score, w)] for w in ("image²", "image·text", "text²"))
    value, variance = score_values(stats, score), score_variance(stats, score)
    # Kish: as many images, equally weighty, as would tell as much.
    kish = _ratio((image + text) ** 2, ii + 2 * it + tt)
    if SCORES[score].bounded:
        return wilson(value, variance, kish, confidence)
    # Activations have no upper bound: the rarer, more skewed side limits how well the variance
    # itself is known (Satterthwaite's degrees of freedom of a sum of two).
    spread_image = _ratio(ii, image**2).nan_to_num(0)
    spread_text = _ratio(tt, text**2).nan_to_num(0)
    df = _ratio((spread_image + spread_text) ** 2, spread_image**3 + spread_text**3) - 1
    return wilson(value, variance, kish, confidence, df)


def firing_rates(
    stats: ModalityStatistics, confidence: float = 0.95
) -> dict[str, tuple[Float[Tensor, "n_features"], Float[Tensor, "n_features 2"]]]:
    """Share of pairs on which each latent fires, with clustered Wilson intervals.

    Returns
    -------
    dict
        `image`, `text` and `either` (the coverage of `mean_of_ratios`) to (rate, interval).
    """
    second = stats.second()
    fires_image, fires_text = stats.sides("frequency")
    either_ratio, either_rest = stats.sides("mean_of_ratios")
    fires = (fires_image, fires_text, either_ratio + either_rest)
    ratio_rows = [
        second[second_row("mean_of_ratios", w)] for w in ("image²", "image·text", "text²")
    ]
    squares = (
        second[second_row("frequency", "image²")],
        second[second_row("frequency", "text²")],
        ratio_rows[0] + 2 * ratio_rows[1] + ratio_rows[2],
    )
    n = float(stats.n_pairs)
    rows_squared = float(stats.rows_squared)
    n_images = stats.n_images
    kish = torch.full((stats.n_features,), n * n / max(rows_squared, 1.0), dtype=torch.float64)
    rates = {}
    for side, total, square in zip(SIDES, fires, squares, strict=True):
        p = total / max(n, 1.0)
        residual = square - 2 * p * second[second_row("rows", side)] + p**2 * rows_squared
        variance = residual.clamp_min(0) / max(n * n, 1.0) * n_images / max(n_images - 1, 1)
        rates[side] = (p, wilson(p, variance, kish, confidence))
    return rates


def wilson(
    value: Float[Tensor, "n"],
    variance: Float[Tensor, "n"],
    n_equivalent: Float[Tensor, "n"],
    confidence: float,
    df: Float[Tensor, "n"] | None = None,
) -> Float[Tensor, "n 2"]:
    """Wilson's score interval at the number of trials that the variance amounts to.

    Parameters
    ----------
    value : float64, 0 to 1 or NaN
    variance : float64
        Variance of `value`, by whatever means.
    n_equivalent : float64
        Number of equal independent clusters: the trials where `value` is 0 or 1.
    df : float64, optional
        Degrees of freedom of the variance; `n_equivalent - 1` by default.

    Returns
    -------
    float64, 0 to 1
        Low and high; [0, 1] where `value` is NaN.
    """
    spread = value * (1 - value)
    at_end = spread <= 0
    n_trials = torch.where(at_end, n_equivalent, spread / variance.clamp_min(1e-300))
    z2_over_n = _t_quantile(n_equivalent - 1 if df is None else df, confidence) ** 2 / n_trials
    centre = (value + z2_over_n / 2) / (1 + z2_over_n)
    half = torch.sqrt(z2_over_n * spread + z2_over_n**2 / 4) / (1 + z2_over_n)
    interval = torch.stack([centre - half, centre + half], dim=-1).clamp(0, 1)
    # Rounding must not push the end of an extreme latent off the end of the scale.
    interval[:, 0] = torch.where(value == 0, 0.0, interval[:, 0])
    interval[:, 1] = torch.where(value == 1, 1.0, interval[:, 1])
    unknown = torch.isnan(value) | torch.isnan(interval).any(-1)
    interval[unknown] = torch.tensor([0.0, 1.0], dtype=interval.dtype)
    return interval


def _t_quantile(df: Float[Tensor, "n"], confidence: float) -> Float[Tensor, "n"]:
    from scipy.special import stdtrit

    df_n = np.clip(np.nan_to_num(df.numpy(), nan=1.0), 1.0, 1e9)
    return torch.from_numpy(np.asarray(stdtrit(df_n, 0.5 + confidence / 2)))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), torch.nan)
