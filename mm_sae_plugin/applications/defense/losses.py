"""What an attack makes larger: losses of logits, one number an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

Loss = Callable[[Float[Tensor, "n k"], Int[Tensor, "n"]], Float[Tensor, "n"]]
"""From logits and true classes to what an attack makes larger."""
LEAST_CLASSES_OF_DLR = 4
"""The denominator of the targeted difference of logits ratio takes four of them."""
_TINY = 1e-12


def cross_entropy_loss(
    logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """Return the cross entropy."""
    return cross_entropy(logits, labels, reduction="none")


def margin_loss(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Return the largest wrong logit less the true one: above 0 where the class is wrong."""
    true = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(1) - true


def targeted_loss(
    logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"], targets: Int[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """Return the targeted difference of logits ratio (Croce and Hein 2020, equation 7).

    ``-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2)`` with logits in falling order: it does not change with
    their scale, which else makes gradients vanish. Below four classes there is no such denominator,
    and it is the plain margin ``z_t - z_y``.
    """
    true, aim = (logits.gather(1, chosen[:, None])[:, 0] for chosen in (labels, targets))
    if logits.shape[1] < LEAST_CLASSES_OF_DLR:
        return aim - true
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return (aim - true) / (first - (third + fourth) / 2).clamp_min(_TINY)
