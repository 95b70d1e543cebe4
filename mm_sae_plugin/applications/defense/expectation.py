"""Attacks on a model that is random: the mean over draws (Athalye et al. 2018, 1802.00420)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from mm_sae_plugin.applications.defense.gradient_attacks import Classifier


def expectation(model: Classifier, n_draws: int = 8) -> Classifier:
    """Return a model whose logits, and so their gradients, are means over draws (EOT).

    An attack on it is an attack on what the model does on the average; judge what it finds with
    another such mean.

    Parameters
    ----------
    model : callable
        Random: each call draws anew.
    n_draws : int
        Calls for one answer, at least 1.
    """
    assert n_draws >= 1

    def mean(pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        probabilities = [log_softmax(model(pixels), dim=1).exp() for _ in range(n_draws)]
        return torch.stack(probabilities).mean(0).clamp_min(1e-30).log()

    return mean
