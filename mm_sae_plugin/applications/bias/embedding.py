"""Pictures and prompts as vectors of the joint space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from mm_sae_plugin.models import HookedCLIP

_BATCH = 128


@torch.no_grad()
def embed_pictures(
    model: HookedCLIP, pictures: Sequence[Image], normalize: bool = True
) -> Float[Tensor, "n d"]:
    """Return joint vectors of pictures, float32 on the CPU, of unit length by default."""
    parts = [
        model.encode_image(list(pictures[at : at + _BATCH]), normalize)
        for at in range(0, len(pictures), _BATCH)
    ]
    return torch.cat(parts).float().cpu()


@torch.no_grad()
def embed_texts(
    model: HookedCLIP, texts: Sequence[str], normalize: bool = True
) -> Float[Tensor, "n d"]:
    """Return joint vectors of captions, float32 on the CPU, of unit length by default."""
    parts = [
        model.encode_text(list(texts[at : at + _BATCH]), normalize)
        for at in range(0, len(texts), _BATCH)
    ]
    return torch.cat(parts).float().cpu()
