"""Tokenizers and image transforms of transformers models, in the shape open_clip's have."""

from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError


@dataclass(frozen=True)
class TransformersTokenizer:
    """Captions to token ids, always padded to full length as these models were trained."""

    tokenizer: Any
    """A transformers tokenizer."""
    context_length: int
    """Tokens in one caption; longer captions are cut."""

    def __call__(self, captions: list[str]) -> Int[Tensor, "n ctx"]:
        """Tokenise captions."""
        encoded = self.tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        return encoded["input_ids"]


@dataclass(frozen=True)
class TransformersPreprocess:
    """One PIL image to pixels, through a transformers image processor."""

    processor: Any
    """A transformers image processor."""

    def __call__(self, image: Any) -> Float[Tensor, "3 height width"]:
        """Transform one image of any mode."""
        pixels = self.processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        return torch.as_tensor(pixels[0])


@dataclass(frozen=True)
class Unavailable:
    """Stands for a tokenizer or transform that could not be loaded, until somebody calls it."""

    what: str
    """What is missing, such as ``"the tokenizer of ViT-B-16-SigLIP"``."""
    reason: str
    """Why it could not be loaded."""

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Say what is missing."""
        raise UserError(
            f"{self.what[0].upper()}{self.what[1:]} could not be loaded: give ready tensors, or "
            f"make it reachable ({self.reason})."
        )
