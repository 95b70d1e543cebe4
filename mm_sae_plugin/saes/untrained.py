"""The untrained SAE: the null that says how much of a result the architecture alone brings."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor


@torch.no_grad()
def untrained_sae(
    like: SAE[Any], seed: int, acts: Float[Tensor, "n d_in"] | None = None
) -> SAE[Any]:
    """Return an SAE with the configuration of ``like`` and random weights.

    Directions are random; the norms of the encoder's and decoder's vectors are those of ``like``,
    so that thresholds stay meaningful. Biases are those of a fresh SAE.

    Parameters
    ----------
    like : SAE
        An inference SAE; it is not changed.
    seed : int
        Seed of the weights; the global random state is left alone.
    acts : Float[Tensor, "n d_in"], optional
        Activations on which an SAE with thresholds (jumprelu, and what batchtopk is saved as)
        gets one common threshold that gives it the mean L0 of ``like``. TopK needs none.

    Returns
    -------
    SAE
        In evaluation mode, its parameters without gradients.
    """
    cfg = copy.deepcopy(like.cfg)
    cfg.metadata.untrained_seed = seed
    device, cfg.device = cfg.device, "cpu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sae = type(like)(cfg)
    sae.to(device)
    sae.W_dec.mul_(_norms(like.W_dec, 1) / _norms(sae.W_dec, 1))
    # Tied SAEs compute the encoder from the decoder.
    if "W_enc" in dict(sae.named_parameters()):
        sae.W_enc.mul_(_norms(like.W_enc, 0) / _norms(sae.W_enc, 0))
    threshold = dict(sae.named_parameters()).get("threshold")
    if threshold is not None:
        threshold.copy_(dict(like.named_parameters())["threshold"])
        if acts is not None:
            _match_l0(sae, threshold, like, acts.to(sae.device))
    return sae.eval().requires_grad_(False)


def _norms(weights: Tensor, dim: int) -> Tensor:
    return weights.norm(dim=dim, keepdim=True).clamp_min(1e-12)


def _match_l0(
    sae: SAE[Any], threshold: Float[Tensor, "d_sae"], like: SAE[Any], acts: Float[Tensor, "n d_in"]
) -> None:
    part = acts[:4096]
    share_active = float((like.encode(part) > 0).double().mean())
    threshold.zero_()
    codes = sae.encode(part).flatten()
    n_active = round(share_active * codes.numel())
    # A code must exceed the threshold, so the first that is to stay off is the threshold.
    threshold.fill_(float(codes.topk(min(n_active + 1, codes.numel())).values[-1]))
