"""``transformers.CLIPModel``."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.hooks.routes import InputRoute, OutputRoute, PositionRoute, Route
from mm_sae_plugin.models import hook_names as names
from mm_sae_plugin.models.towers import TowerSpec


@dataclass(frozen=True)
class TransformersCLIPFamily:
    """Adapter for the CLIP of Hugging Face transformers."""

    name: str = "transformers.clip"
    """The family's name."""

    @classmethod
    def of(cls, clip: Any) -> "TransformersCLIPFamily":
        """Return the adapter, which is the same for every such model."""
        return cls()

    def vision(self, clip: Any) -> TowerSpec:
        """Return the routes of the vision tower."""
        spec = encoder_spec(clip.vision_model, "vision_model")
        # `post_layernorm` is applied to the class token only, hence one row an image.
        pooled: dict[str, Route] = {names.HOOK_POOLED: OutputRoute("vision_model.post_layernorm")}
        routes = {**spec.routes, **pooled}
        return replace(spec, routes=routes, has_class_token=True, n_prefix_tokens=1)

    def text(self, clip: Any) -> TowerSpec:
        """Return the routes of the text tower."""
        spec = encoder_spec(clip.text_model, "text_model")
        pooled: dict[str, Route] = {
            names.HOOK_POOLED: PositionRoute("text_model.final_layer_norm", end_of_text_position)
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

        Attention is causal, so padding behind the end-of-text token cannot reach it and no
        attention mask is needed.
        """
        return clip.get_text_features(input_ids=tokens, return_dict=True).pooler_output

    def normalize(self, features: Float[Tensor, "batch d_joint"]) -> Float[Tensor, "batch d_joint"]:
        """Scale rows to unit length."""
        # Not `F.normalize`: the last bit would differ from what `CLIPModel` returns.
        return features / features.pow(2).sum(dim=-1, keepdim=True).pow(0.5)

    def d_joint(self, clip: Any) -> int:
        """Return the width of the joint space."""
        return clip.config.projection_dim

    def image_size(self, clip: Any) -> tuple[int, int]:
        """Return height and width of the images in pixels."""
        return square(clip.config.vision_config.image_size)

    def context_length(self, clip: Any) -> int:
        """Return the number of tokens in one caption."""
        return clip.config.text_config.max_position_embeddings

    def n_read_tokens(
        self, clip: Any, tokens: Int[Tensor, "batch ctx"]
    ) -> Int[Tensor, "batch"] | None:
        """Count the leading tokens that each caption's embedding is made of."""
        return end_of_text_position(clip, tokens, tokens.shape[1]) + 1

    def of_fewer_tokens(self, clip: Any, n_tokens: int) -> AbstractContextManager[None]:
        """Let the text tower take captions cut to ``n_tokens``, as it does anyway."""
        return nullcontext()


def encoder_spec(tower: Any, path: str) -> TowerSpec:
    """Return the embedding and block sites that all four transformers towers share."""
    routes: dict[str, Route] = {names.HOOK_EMBED: OutputRoute(f"{path}.embeddings")}
    block_paths = [f"{path}.encoder.layers.{i}" for i in range(len(tower.encoder.layers))]
    for layer, block in enumerate(block_paths):
        routes |= {
            names.block_site(layer, names.HOOK_RESID_PRE): InputRoute(block),
            names.block_site(layer, names.HOOK_ATTN_OUT): OutputRoute(f"{block}.self_attn"),
            names.block_site(layer, names.HOOK_MLP_POST): OutputRoute(f"{block}.mlp.activation_fn"),
            names.block_site(layer, names.HOOK_MLP_OUT): OutputRoute(f"{block}.mlp"),
            names.block_site(layer, names.HOOK_RESID_POST): OutputRoute(block),
        }
    return TowerSpec(routes, block_paths, tower.config.hidden_size)


def end_of_text_position(
    clip: Any, tokens: Int[Tensor, "batch ctx"], n_tokens: int
) -> Int[Tensor, "batch"]:
    """Return where ``CLIPModel`` reads a caption: its first end-of-text token."""
    eos_id = clip.text_model.eos_token_id
    # Old configurations say 2, which is wrong; transformers then takes the highest id.
    if eos_id == 2:
        return tokens.to(torch.int).argmax(dim=-1)
    return (tokens == eos_id).int().argmax(dim=-1)


def square(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a size that may be one number."""
    if isinstance(size, int):
        return (size, size)
    return (int(size[0]), int(size[1]))
