"""The cut at which a latent is said to point along the modality gap."""

import torch

from mm_sae_plugin.stats.gap_cut import GAP_CUT, points_along_gap


def test_latents_on_either_side_of_the_cut():
    cosine = torch.tensor([GAP_CUT, GAP_CUT + 0.01, -GAP_CUT - 0.01, -1.0, 0.0, float("nan")])
    assert points_along_gap(cosine).tolist() == [False, True, True, True, False, False]
