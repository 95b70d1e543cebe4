"""A CLIP of a few thousand weights, for tests of extraction."""

import torch

from mm_sae_plugin.models import HookedCLIP
from tests.activations.pictures import CTX, SIZE, preprocess, tokenize


def tiny_clip(seed: int = 0, d_joint: int = 12) -> HookedCLIP:
    """Return a ViT CLIP with random weights."""
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    vision = dict(layers=2, width=16, head_width=8, patch_size=8, image_size=SIZE)
    text = dict(context_length=CTX, vocab_size=50, width=16, heads=2, layers=1)
    clip = CLIP(d_joint, vision, text).eval()  # type: ignore[arg-type]
    return HookedCLIP.wrap(clip, tokenizer=tokenize, preprocess=preprocess, name="tiny")
