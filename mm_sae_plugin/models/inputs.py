"""Tokenizers and image transforms of transformers models, in the shape of open_clip's own."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError, one_line


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


@dataclass
class Deferred:
    """A tokenizer or image transform that is loaded when it is first called.

    Many lie on the hub: a model of which only images are embedded must not wait for a network
    that is not there. It holds a module-level function and plain arguments, so that worker
    processes can be given it.
    """

    what: str
    """What it is, for an error message: ``"tokenizer of ViT-B-16-SigLIP"``."""
    load: Callable[..., Callable[..., Any]]
    """Loads it."""
    arguments: tuple[Any, ...]
    """Arguments of ``load``."""
    loaded: Callable[..., Any] | None = field(default=None, repr=False)
    """The thing itself, once loaded."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the thing itself.

        Raises
        ------
        UserError
            If it cannot be loaded.
        """
        if self.loaded is None:
            self.loaded = self._load()
        return self.loaded(*args, **kwargs)

    def _load(self) -> Callable[..., Any]:
        try:
            return self.load(*self.arguments)
        except Exception as error:
            raise UserError(
                f"The {self.what} could not be loaded: make it reachable, or give ready tensors "
                f"({why_not(error)})."
            ) from error


def why_not(error: Exception) -> str:
    """Return why a library could not load a file, without its advice to switch safety off."""
    text = str(error)
    if "trust_remote_code" in text:
        return "it needs code of its own to be run, which is refused"
    if "TorchScript" in text:
        return "it is a TorchScript archive: save its state_dict() instead, best as safetensors"
    if "weights_only" in text and re.search("unsupported (global|class)|blocked", text, re.I):
        return (
            "it is a pickle of more than plain tensors, which can run any code when it is opened: "
            "save its state_dict() instead, best as safetensors"
        )
    if "weights_only" in text:
        return (
            "it is damaged, or a pickle that torch.save did not write, which could run any code "
            "when it is opened: save a state_dict(), best as safetensors"
        )
    line = one_line(error)[:160]
    # A lone word, as of a KeyError, says nothing without its kind.
    return line if " " in line else f"{type(error).__name__} {line}".strip()
