"""Latents that fire on nearly everything."""

import torch

from mm_sae_plugin.stats import ModalityStatistics
from mm_sae_plugin.stats.density import DENSE_RATE, fires_densely


def test_dense_is_more_than_half_of_one_side():
    assert DENSE_RATE == 0.5
    image = torch.zeros(10, 4)
    image[:6, 0] = 1.0
    image[:5, 1] = 1.0
    text = torch.zeros(10, 4)
    text[:, 2] = 0.1
    stats = ModalityStatistics(4)
    stats.update(image, text, torch.arange(10))
    assert fires_densely(stats).tolist() == [True, False, True, False]
    assert not fires_densely(ModalityStatistics(2)).any()
