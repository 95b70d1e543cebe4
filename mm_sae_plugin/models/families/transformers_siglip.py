"""``transformers.SiglipModel`` (SigLIP, and the SigLIP 2 checkpoints of that class)."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.routes import OutputRoute, PositionRoute, Route
from mm_sae_plugin.models import hook_names as names
from mm_sae_plugin.models.families.transformers_clip import encoder_spec, square
from mm_sae_plugin.models.towers import TowerSpec


@dataclass(frozen=True)
class TransformersSiglipFamily:
    """Adapter for the SigLIP of Hugging Face transformers.

    The vision tower pools by attention and has no projection, so ``vision.hook_pooled`` and
    ``vision.hook_proj`` hold the same vector; the text tower reads the last token, padding or not.
    """

    name: str = "transformers.siglip"
    """The family's name."""

    @classmethod
    def of(cls, clip: Any) -> "TransformersSiglipFamily":
        """Return the adapter, which is the same for every such model."""
        return cls()

    def vision(self, clip: Any) -> TowerSpec:
        """Return the routes of the vision tower."""
        if not clip.vision_model.use_head:
            raise UserError(
                "This SiglipModel has no pooling head (vision_use_head=False) and so no joint "
                "space: load a checkpoint that has one."
            )
        spec = encoder_spec(clip.vision_model, "vision_model")
        pooled: dict[str, Route] = {names.HOOK_POOLED: OutputRoute("vision_model.head")}
        return replace(spec, routes={**spec.routes, **pooled})

    def text(self, clip: Any) -> TowerSpec:
        """Return the routes of the text tower."""
        spec = encoder_spec(clip.text_model, "text_model")
        pooled: dict[str, Route] = {
            names.HOOK_POOLED: PositionRoute("text_model.final_layer_norm", last_position)
        }
        return replace(spec, routes={**spec.routes, **pooled})

    def encode_image(
        self, clip: Any, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch d_joint"]:
        """Run the vision tower up to the joint space, not normalised."""
        return clip.get_image_features(pixel_values=images, return_dict=True).pooler_output

    def encode_text(
        self, clip: Any, tokens: Int[Tensor, "batch ctx"]
    ) -> Float[Tensor, "batch d_joint"]:
        """Run the text tower up to the joint space, not normalised.

        SigLIP was trained on captions padded to full length without an attention mask.
        """
        return clip.get_text_features(input_ids=tokens, return_dict=True).pooler_output

    def normalize(self, features: Float[Tensor, "batch d_joint"]) -> Float[Tensor, "batch d_joint"]:
        """Scale rows to unit length."""
        return features / features.norm(p=2, dim=-1, keepdim=True)

    def d_joint(self, clip: Any) -> int:
        """Return the width of the joint space."""
        return clip.text_model.head.out_features

    def image_size(self, clip: Any) -> tuple[int, int]:
        """Return height and width of the images in pixels."""
        return square(clip.config.vision_config.image_size)

    def context_length(self, clip: Any) -> int:
        """Return the number of tokens in one caption."""
        return clip.config.text_config.max_position_embeddings

    def n_read_tokens(
        self, clip: Any, tokens: Int[Tensor, "batch ctx"]
    ) -> Int[Tensor, "batch"] | None:
        """Return ``None``: every token looks at all others, padding included."""
        return None

    def of_fewer_tokens(self, clip: Any, n_tokens: int) -> AbstractContextManager[None]:
        """Do nothing: captions are always taken whole."""
        return nullcontext()


def last_position(
    clip: Any, tokens: Int[Tensor, "batch ctx"], n_tokens: int
) -> Int[Tensor, "batch"]:
    """Return the last position of every caption."""
    return torch.full((len(tokens),), n_tokens - 1, device=tokens.device)
