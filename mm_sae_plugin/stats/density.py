"""From where on a latent fires on nearly everything, and so tells nothing apart."""

from jaxtyping import Bool
from torch import Tensor

from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.intervals import firing_rates

DENSE_RATE = 0.5
"""A latent that fires on a larger share than this of the images, or of the captions, is dense."""


def fires_densely(stats: ModalityStatistics) -> Bool[Tensor, "n_features"]:
    """Which latents fire on more than ``DENSE_RATE`` of the images, or of the captions.

    Their strongest examples say little about them, and their score is near that of the mean.
    """
    rates = firing_rates(stats)
    return (rates["image"][0] > DENSE_RATE) | (rates["text"][0] > DENSE_RATE)
