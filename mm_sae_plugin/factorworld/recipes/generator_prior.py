"""Training the prior: from noise and a caption's joint embedding to a picture's."""

import numpy as np
import torch
from diffusers.schedulers.scheduling_unclip import betas_for_alpha_bar
from jaxtyping import Float
from torch import Tensor, nn

from mm_sae_plugin.factorworld.embedded import load_embedded
from mm_sae_plugin.factorworld.generator.prior import JointPrior
from mm_sae_plugin.factorworld.recipes.generator_data import GeneratorData, embed_captions

N_STEPS = 1_000
"""Steps of the squared-cosine schedule of the noise."""

_DROPPED = 0.1
_LARGEST_WEIGHT = 5.0


def empty_caption() -> Float[Tensor, "1 d_joint"]:
    """Return the embedding of the empty caption, which is the pipeline's "no condition"."""
    return embed_captions(load_embedded("factorworld"), [""])


@torch.no_grad()
def standardise(prior: JointPrior, data: GeneratorData) -> None:
    """Set the mean and the standard deviation of image embeddings, about which the prior works."""
    images = torch.from_numpy(np.array(data.images))
    prior.clip_mean.copy_(images.mean(0, keepdim=True))
    prior.clip_std.copy_(images.std(0, keepdim=True))
    prior.clip_mean.requires_grad_(False)
    prior.clip_std.requires_grad_(False)


def prior_losses(
    model: nn.Module,
    rows: np.ndarray,
    chance: torch.Generator,
    data: GeneratorData,
    empty: Float[Tensor, "1 d_joint"],
) -> dict[str, Float[Tensor, ""]]:
    """Return the weighted squared error of the predicted image embeddings, standardised."""
    assert isinstance(model, JointPrior)
    n = len(rows)
    clean = (torch.from_numpy(data.images[rows]) - model.clip_mean) / model.clip_std
    dropped = torch.rand(n, 1, generator=chance) < _DROPPED
    texts = torch.where(dropped, empty, torch.from_numpy(data.texts[rows]))
    kept = torch.cumprod(1 - betas_for_alpha_bar(N_STEPS), 0)
    steps = torch.randint(N_STEPS, (n,), generator=chance)
    signal = kept[steps][:, None]
    noise = torch.randn(clean.shape, generator=chance)
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
    guess = model(noisy, steps, texts).predicted_image_embedding.float()
    weight = (1 / (1 - kept[steps])).clamp(max=_LARGEST_WEIGHT)
    return {"square": (weight * (guess - clean).square().mean(1)).mean()}
