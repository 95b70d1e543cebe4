"""What loaders return: plain parts, before any hook point."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from mm_sae_plugin.models.weights import WeightsId


@dataclass(frozen=True)
class ModelParts:
    """What a ``HookedCLIP`` is put together from."""

    clip: nn.Module
    """The model, on the CPU in float32."""
    tokenizer: Any
    """Captions to token ids ``[n, ctx]``."""
    preprocess: Any
    """One PIL image to pixels ``[3, height, width]``."""
    name: str
    """The name it was asked for by, in one spelling."""
    weights_id: WeightsId
    """Which weights."""
