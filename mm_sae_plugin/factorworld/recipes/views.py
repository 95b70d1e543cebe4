"""Second views of a batch for within-modality self-supervision, as in DeCLIP."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.factorworld.tokenizer import WordTokenizer


def augment_images(
    images: Float[Tensor, "batch 3 height width"], generator: torch.Generator
) -> Float[Tensor, "batch 3 height width"]:
    """Shift, brighten, blur the contrast of, and cut a hole into each image."""
    batch, _, height, width = images.shape
    pad = 3
    padded = F.pad(images, (pad, pad, pad, pad), mode="replicate")
    shift = torch.randint(0, 2 * pad + 1, (batch, 2), generator=generator)
    rows = shift[:, :1] + torch.arange(height)
    columns = shift[:, 1:] + torch.arange(width)
    at = torch.arange(batch)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]]
    views = shifted.permute(0, 3, 1, 2).contiguous()
    contrast = 0.8 + 0.4 * torch.rand(batch, 1, 1, 1, generator=generator)
    brightness = 0.4 * torch.rand(batch, 1, 1, 1, generator=generator) - 0.2
    views = views * contrast + brightness
    side = height // 4
    corner = torch.randint(0, height - side, (batch, 2), generator=generator)
    y, x = torch.arange(height)[:, None], torch.arange(width)
    inside = (y - corner[:, :1, None]).ge(0) & (y - corner[:, :1, None]).lt(side)
    inside = inside & (x - corner[:, 1:, None]).ge(0) & (x - corner[:, 1:, None]).lt(side)
    return views.masked_fill(inside[:, None], 0.0)


def hide_words(
    tokens: Int[Tensor, "batch context"],
    share: float,
    tokenizer: WordTokenizer,
    generator: torch.Generator,
) -> Int[Tensor, "batch context"]:
    """Replace a ``share`` (0 to 1) of the words with the unknown token."""
    is_word = (tokens > 0) & (tokens < tokenizer.unk_token_id)
    hidden = torch.rand(tokens.shape, generator=generator) < share
    return tokens.masked_fill(is_word & hidden, tokenizer.unk_token_id)


def hide_some_words(
    tokens: Int[Tensor, "batch context"],
    words: Sequence[str],
    share: float,
    tokenizer: WordTokenizer,
    generator: torch.Generator,
) -> Int[Tensor, "batch context"]:
    """Replace all of the given ``words`` in a ``share`` (0 to 1) of the captions."""
    hidden = torch.rand(len(tokens), 1, generator=generator) < share
    ids = torch.tensor([i for word in words for i in tokenizer.encode(word)])
    return tokens.masked_fill(torch.isin(tokens, ids) & hidden, tokenizer.unk_token_id)
