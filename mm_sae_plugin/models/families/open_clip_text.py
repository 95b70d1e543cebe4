"""Text towers of open_clip: on the root of a plain ``CLIP``, or in ``clip.text``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mm_sae_plugin.hooks.inspection import is_compiled, uncompiled
from mm_sae_plugin.hooks.routes import InputRoute, OutputRoute, PositionRoute, Route
from mm_sae_plugin.models import hook_names as names
from mm_sae_plugin.models.families.open_clip_vision import resblock_routes
from mm_sae_plugin.models.towers import TowerSpec

# Where a Hugging Face text tower gives a longer table of positions than captions ever use.
_LONGEST_CAPTION = 77


def text_spec(clip: Any) -> TowerSpec:
    """Return the routes of the text tower, wherever the model keeps it."""
    if _is_on_root(clip):
        return _transformer_spec(clip, "", clip.text_pool_type, has_cls=False)
    if _is_open_clip_transformer(clip.text):
        text = clip.text
        return _transformer_spec(text, "text.", text.pool_type, has_cls=text.cls_emb is not None)
    # A Hugging Face tower inside open_clip: its layers differ by model, its pooler does not.
    return TowerSpec({names.HOOK_POOLED: OutputRoute("text.pooler")})


def d_joint(clip: Any) -> int:
    """Return the width of the joint space, read off the text projection."""
    text = clip if _is_on_root(clip) else clip.text
    if not _is_on_root(clip) and not _is_open_clip_transformer(text):
        return text.output_dim
    projection = text.text_projection
    if projection is None:
        return text.transformer.width
    if isinstance(projection, nn.Linear):
        return projection.out_features
    return projection.shape[1]


def context_length(clip: Any) -> int:
    """Return the number of tokens in one caption."""
    if _is_on_root(clip):
        return clip.context_length
    if _is_open_clip_transformer(clip.text):
        # CoCa's own `context_length` is its decoder's.
        return clip.text.context_length
    return min(clip.text.context_length, _LONGEST_CAPTION)


def root_position(
    clip: Any, tokens: Int[Tensor, "batch ctx"], n_tokens: int
) -> Int[Tensor, "batch"]:
    """Return the position that a plain ``CLIP`` pools its captions at."""
    return _pooled_position(tokens, n_tokens, clip.text_pool_type, clip.text_eos_id)


def tower_position(
    clip: Any, tokens: Int[Tensor, "batch ctx"], n_tokens: int
) -> Int[Tensor, "batch"]:
    """Return the position that a ``TextTransformer`` pools its captions at."""
    return _pooled_position(tokens, n_tokens, clip.text.pool_type, clip.text.eos_id)


def n_read_tokens(clip: Any, tokens: Int[Tensor, "batch ctx"]) -> Int[Tensor, "batch"] | None:
    """Count the leading tokens that each caption's embedding is made of; None if it may be all."""
    text = clip if _is_on_root(clip) else clip.text
    if not _is_on_root(clip) and not _is_open_clip_transformer(text):
        return None
    # Only behind a causal mask, and without CoCa's class token, is nothing read from behind.
    is_causal = text.attn_mask is not None and not getattr(text, "use_pad_mask", False)
    has_cls = getattr(text, "cls_emb", None) is not None
    pool_type = clip.text_pool_type if _is_on_root(clip) else text.pool_type
    if not is_causal or has_cls or pool_type == "none" or is_compiled(clip) or is_compiled(text):
        return None
    position = root_position if _is_on_root(clip) else tower_position
    return position(clip, tokens, tokens.shape[1]) + 1


@contextmanager
def of_fewer_tokens(clip: Any, n_tokens: int) -> Iterator[None]:
    """Let the text tower take captions cut to ``n_tokens`` while the block lasts.

    open_clip adds its whole table of positions and its whole mask to whatever comes.
    """
    text = clip if _is_on_root(clip) else clip.text
    positions, mask = text.positional_embedding, text.attn_mask
    try:
        text.positional_embedding = nn.Parameter(positions[:n_tokens], requires_grad=False)
        text.attn_mask = mask[:n_tokens, :n_tokens]
        yield
    finally:
        text.positional_embedding, text.attn_mask = positions, mask


def _is_on_root(clip: nn.Module) -> bool:
    return not hasattr(clip, "text")


def _is_open_clip_transformer(text: nn.Module) -> bool:
    from open_clip.transformer import TextTransformer

    return isinstance(uncompiled(text), TextTransformer)


def _transformer_spec(tower: Any, prefix: str, pool_type: str, has_cls: bool) -> TowerSpec:
    # No module emits tokens with positions; the transformer takes them in, batch first.
    routes: dict[str, Route] = {names.HOOK_EMBED: InputRoute(f"{prefix}transformer")}
    transformer = tower.transformer
    paths = [f"{prefix}transformer.resblocks.{i}" for i in range(len(transformer.resblocks))]
    for layer, path in enumerate(paths):
        routes |= resblock_routes(path, layer, transformer.batch_first)
    if has_cls:
        # CoCa pools its appended class token first, so the final norm sees one row a caption.
        routes[names.HOOK_POOLED] = OutputRoute(f"{prefix}ln_final")
    elif pool_type != "none":
        positions = tower_position if prefix else root_position
        routes[names.HOOK_POOLED] = PositionRoute(f"{prefix}ln_final", positions)
    return TowerSpec(routes, paths, transformer.width, batch_first=transformer.batch_first)


def _pooled_position(tokens: Tensor, n_tokens: int, pool_type: str, eos_id: int) -> Tensor:
    from open_clip.transformer import text_global_pool

    # Pooling a table of positions by open_clip's own rule gives the position it pools at.
    position_bt = torch.arange(n_tokens, device=tokens.device).expand(len(tokens), -1)
    return text_global_pool(position_bt, tokens, pool_type, eos_token_id=eos_id)
