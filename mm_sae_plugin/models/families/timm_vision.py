"""Transformers of timm as vision towers: ViT, SigLIP, EVA-02, Perception Encoder, BEiT and others.

What timm builds of the same parts has the same names; three tables say which trunks, blocks and
MLPs are known. An unknown block still has its residual stream hooked, and an unknown trunk is
left without token sites, as a convolutional one is.
"""

from typing import Any

from torch import nn

from mm_sae_plugin.hooks.inspection import uncompiled
from mm_sae_plugin.hooks.routes import InputRoute, OutputRoute, Route
from mm_sae_plugin.models import hook_names as names
from mm_sae_plugin.models.towers import TowerSpec

_MODELS = "timm.models."
_EMBEDDINGS: dict[str, Route | None] = {
    f"{_MODELS}vision_transformer.VisionTransformer": InputRoute("visual.trunk.norm_pre"),
    f"{_MODELS}eva.Eva": InputRoute("visual.trunk.norm_pre"),
    f"{_MODELS}beit.Beit": OutputRoute("visual.trunk.pos_drop"),
    # No module stands between the class token's concatenation and the first block.
    f"{_MODELS}vision_transformer_relpos.VisionTransformerRelPos": None,
}
"""Class of a trunk -> where its tokens, with positions, come before the first block."""
_RESIDUAL_BLOCKS = frozenset(
    {
        f"{_MODELS}vision_transformer.Block",
        f"{_MODELS}vision_transformer.ResPostBlock",
        f"{_MODELS}vision_transformer_relpos.RelPosBlock",
        f"{_MODELS}vision_transformer_relpos.ResPostRelPosBlock",
        f"{_MODELS}eva.EvaBlock",
        f"{_MODELS}eva.EvaBlockPostNorm",
        f"{_MODELS}beit.Block",
    }
)
"""Blocks that add what leaves ``drop_path1``, then what leaves ``drop_path2``, to the stream."""
_HIDDEN_UNITS: dict[str, tuple[type[InputRoute] | type[OutputRoute], str]] = {
    "timm.layers.mlp.Mlp": (OutputRoute, "act"),
    # Gated: what the activation function makes is a factor of the hidden units only.
    "timm.layers.mlp.GluMlp": (InputRoute, "drop1"),
    "timm.layers.mlp.SwiGLU": (InputRoute, "drop1"),
    f"{_MODELS}vitamin.GeGluMlp": (InputRoute, "drop1"),
}
"""Class of an MLP -> where its hidden units are, and of which part."""


def is_timm_transformer(visual: nn.Module) -> bool:
    """Say whether this is open_clip's wrapper around a trunk whose tokens can be hooked."""
    from open_clip.timm_model import TimmModel

    return isinstance(visual, TimmModel) and _trunk_class(visual.trunk) is not None


def timm_spec(visual: Any) -> TowerSpec:
    """Return the routes of such a tower."""
    trunk = visual.trunk
    trunk_class = _trunk_class(trunk)
    assert trunk_class is not None
    embedding = _EMBEDDINGS[trunk_class]
    routes: dict[str, Route] = {} if embedding is None else {names.HOOK_EMBED: embedding}
    paths = [f"visual.trunk.blocks.{i}" for i in range(len(trunk.blocks))]
    for layer, (path, block) in enumerate(zip(paths, trunk.blocks, strict=True)):
        routes |= _block_routes(path, layer, uncompiled(block))
    # A pool inside open_clip's own head leaves the trunk's output unpooled. The trunk's head may
    # be the projection into the joint space.
    if not hasattr(visual.head, "pool"):
        routes[names.HOOK_POOLED] = InputRoute("visual.trunk.head")
    return TowerSpec(
        routes,
        paths,
        trunk.embed_dim,
        has_class_token=trunk.cls_token is not None,
        n_prefix_tokens=trunk.num_prefix_tokens,
        # Of the known trunks only the plain one adds positions once and for all.
        blocks_use_positions=trunk_class != f"{_MODELS}vision_transformer.VisionTransformer",
    )


def _trunk_class(trunk: nn.Module) -> str | None:
    """Return the known class that a trunk is of, or is derived from."""
    known = (_qualified(base) for base in type(uncompiled(trunk)).__mro__)
    return next((name for name in known if name in _EMBEDDINGS), None)


def _block_routes(path: str, layer: int, block: Any) -> dict[str, Route]:
    before: dict[str, Route] = {names.block_site(layer, names.HOOK_RESID_PRE): InputRoute(path)}
    after: dict[str, Route] = {names.block_site(layer, names.HOOK_RESID_POST): OutputRoute(path)}
    # Not `isinstance`: a subclass may add up its parts otherwise.
    if _qualified(type(block)) not in _RESIDUAL_BLOCKS:
        return before | after
    parts: dict[str, Route] = {
        names.block_site(layer, names.HOOK_ATTN_OUT): OutputRoute(f"{path}.drop_path1")
    }
    hidden = _HIDDEN_UNITS.get(_qualified(type(uncompiled(block.mlp))))
    if hidden is not None:
        kind, part = hidden
        site = names.block_site(layer, names.HOOK_MLP_POST)
        parts[site] = kind(f"{path}.mlp.{part}")
    parts[names.block_site(layer, names.HOOK_MLP_OUT)] = OutputRoute(f"{path}.drop_path2")
    return before | parts | after


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
