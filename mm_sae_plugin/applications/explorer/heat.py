"""Where in a picture a latent fires."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.explorer.given import one_latent
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.hook_names import HOOK_NORMALIZED, JOINT_SITES
from mm_sae_plugin.models.token_reading import patches_in_joint_space
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.given import pictures

if TYPE_CHECKING:
    from PIL.Image import Image


def heat_map(
    study: Study, latent: int, image: "Image | str | Path"
) -> Float[Tensor, "rows columns"]:
    """Return how strongly a latent fires on each patch of a picture.

    Every token that enters the vision tower's last block goes alone through that block and the
    tower's own final norm, pooling head and projection, and then through the SAE's encoder. It is a
    reading of what stands in each token, and no attribution: tokens were never trained to be read
    so (only what is pooled was), they have looked at the whole picture by then, and their codes do
    not add up to the picture's. A latent that fires on the picture may fire on no single patch, and
    the other way round.

    On the embedded model, where a third of the width is chance, the strongest third is the one
    that a single thing or person stands in for 10 of 12 pictures of latents that follow an object,
    63% of those for an occupation and 52% for a colour. What leaves the last block, read likewise,
    says hardly anything (25%, 50%, 45%, and nearly every patch fires).

    Parameters
    ----------
    study : Study
        Its SAE must sit in the joint space.
    latent : int
    image : PIL image or path

    Returns
    -------
    float, on the CPU
        Codes >= 0 of the patches, from the top left.

    Raises
    ------
    UserError
        If there is no such latent, the picture is none, the SAE is not in the joint space, or the
        tower has no tokens that can be read (as convolutional ones).
    """
    latent = one_latent(study, latent)
    hook = study.hook_names["image"] or ""
    site = hook.rpartition(".")[2]
    if site not in JOINT_SITES:
        raise UserError(
            f"The SAE in {study.path} sits at {hook!r}: only the patches of one in the joint space "
            "(hook_proj or hook_normalized) can be read through the tower's own head."
        )
    picture = pictures([image])
    with study.lock, torch.inference_mode():
        pixels = study.model.to_pixels(picture)
        acts = patches_in_joint_space(study.model, pixels, site == HOOK_NORMALIZED)
        codes = study.feature_map.encode(acts.to(study.device, study.sae.W_dec.dtype), "image")
    return codes[..., latent].float().cpu().clone()
