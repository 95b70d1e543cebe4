"""open_clip models: ``CLIP``, ``CustomTextCLIP`` and ``CoCa``, whatever their towers."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mm_sae_plugin.models.families import open_clip_text, open_clip_vision
from mm_sae_plugin.models.towers import TowerSpec


@dataclass(frozen=True)
class OpenCLIPFamily:
    """Adapter for open_clip; the vision tower decides the name."""

    name: str
    """``"open_clip."`` and the kind of vision tower, or ``"open_clip.coca"``."""

    @classmethod
    def of(cls, clip: Any) -> "OpenCLIPFamily":
        """Return the adapter for this model."""
        from open_clip.coca_model import CoCa

        if isinstance(clip, CoCa):
            return cls("open_clip.coca")
        return cls(f"open_clip.{open_clip_vision.vision_tower(clip).kind}")

    def vision(self, clip: Any) -> TowerSpec:
        """Return the routes of the vision tower; a convolutional one has the joint sites only."""
        return open_clip_vision.vision_tower(clip).spec(clip.visual)

    def text(self, clip: nn.Module) -> TowerSpec:
        """Return the routes of the text tower."""
        return open_clip_text.text_spec(clip)

    def encode_image(
        self, clip: Any, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch d_joint"]:
        """Run the vision tower up to the joint space, not normalised."""
        # CoCa normalises unless told not to.
        return clip.encode_image(images, normalize=False)

    def encode_text(
        self, clip: Any, tokens: Int[Tensor, "batch ctx"]
    ) -> Float[Tensor, "batch d_joint"]:
        """Run the text tower up to the joint space, not normalised."""
        return clip.encode_text(tokens, normalize=False)

    def normalize(self, features: Float[Tensor, "batch d_joint"]) -> Float[Tensor, "batch d_joint"]:
        """Scale rows to unit length."""
        return F.normalize(features, dim=-1)

    def d_joint(self, clip: nn.Module) -> int:
        """Return the width of the joint space."""
        return open_clip_text.d_joint(clip)

    def image_size(self, clip: Any) -> tuple[int, int]:
        """Return height and width of the images in pixels."""
        size = clip.visual.image_size
        if isinstance(size, int):
            return (size, size)
        return (int(size[0]), int(size[1]))

    def context_length(self, clip: nn.Module) -> int:
        """Return the number of tokens in one caption."""
        return open_clip_text.context_length(clip)

    def n_read_tokens(
        self, clip: nn.Module, tokens: Int[Tensor, "batch ctx"]
    ) -> Int[Tensor, "batch"] | None:
        """Count the leading tokens that each caption's embedding is made of."""
        return open_clip_text.n_read_tokens(clip, tokens)

    def of_fewer_tokens(self, clip: nn.Module, n_tokens: int) -> AbstractContextManager[None]:
        """Let the text tower take captions cut to ``n_tokens`` while the block lasts."""
        return open_clip_text.of_fewer_tokens(clip, n_tokens)
