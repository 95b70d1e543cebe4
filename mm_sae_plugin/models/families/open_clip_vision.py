"""Image towers of open_clip: its own ViT, timm transformers, and convolutional towers."""

from typing import Any

from torch import nn

from mm_sae_plugin.hooks.routes import InputRoute, MethodRoute, OutputRoute, Route, TowerSpec
from mm_sae_plugin.models import hook_names as names


def kind_of_tower(visual: nn.Module) -> str:
    """Return ``"vit"``, ``"timm_vit"``, ``"resnet"`` or ``"timm_conv"``."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        return "vit"
    if isinstance(visual, ModifiedResNet):
        return "resnet"
    if isinstance(visual, TimmModel) and _is_timm_transformer(visual.trunk):
        return "timm_vit"
    return "timm_conv"


def vision_spec(clip: Any) -> TowerSpec:
    """Return the routes of the image tower; a convolutional one has the joint sites only."""
    kind = kind_of_tower(clip.visual)
    if kind == "vit":
        return _vit_spec(clip.visual)
    if kind == "timm_vit":
        return _timm_spec(clip.visual)
    return TowerSpec()


def resblock_routes(path: str, layer: int, batch_first: bool) -> dict[str, Route]:
    """Return the five sites of one open_clip block, which both towers share.

    ``attn.out_proj`` never fires, since fused attention reads its weights itself; ``ls_1`` and
    ``ls_2`` (an identity or a layer scale) always do, and hold exactly what is added.
    """
    return {
        names.block_site(layer, names.HOOK_RESID_PRE): InputRoute(path, batch_first),
        names.block_site(layer, names.HOOK_ATTN_OUT): OutputRoute(f"{path}.ls_1", batch_first),
        names.block_site(layer, names.HOOK_MLP_POST): OutputRoute(f"{path}.mlp.gelu", batch_first),
        names.block_site(layer, names.HOOK_MLP_OUT): OutputRoute(f"{path}.ls_2", batch_first),
        names.block_site(layer, names.HOOK_RESID_POST): OutputRoute(path, batch_first),
    }


def _vit_spec(visual: Any) -> TowerSpec:
    # `ln_pre` runs before the transformer changes the layout, so it is always batch first.
    routes: dict[str, Route] = {names.HOOK_EMBED: InputRoute("visual.ln_pre")}
    batch_first = visual.transformer.batch_first
    paths = [f"visual.transformer.resblocks.{i}" for i in range(len(visual.transformer.resblocks))]
    for layer, path in enumerate(paths):
        routes |= resblock_routes(path, layer, batch_first)
    # `pool_type="none"` leaves all tokens unpooled: there is no such vector to hook.
    if visual.pool_type != "none":
        routes[names.HOOK_POOLED] = MethodRoute("visual", "_pool")
    # open_clip puts one in front of the patches, however it pools.
    return TowerSpec(
        routes, paths, visual.transformer.width, has_class_token=True, batch_first=batch_first
    )


def _is_timm_transformer(trunk: nn.Module) -> bool:
    from timm.models.vision_transformer import Block, VisionTransformer

    if not isinstance(trunk, VisionTransformer):
        return False
    # timm has blocks of other shapes (parallel, post-norm) whose parts mean something else.
    return all(type(block) is Block for block in trunk.blocks)


def _timm_spec(visual: Any) -> TowerSpec:
    trunk = visual.trunk
    routes: dict[str, Route] = {names.HOOK_EMBED: InputRoute("visual.trunk.norm_pre")}
    paths = [f"visual.trunk.blocks.{i}" for i in range(len(trunk.blocks))]
    for layer, path in enumerate(paths):
        routes |= _timm_block_routes(path, layer)
    # A pool inside open_clip's own head leaves the trunk's output unpooled.
    if not hasattr(visual.head, "pool"):
        routes[names.HOOK_POOLED] = OutputRoute("visual.trunk")
    has_class_token = trunk.cls_token is not None
    return TowerSpec(routes, paths, trunk.embed_dim, has_class_token)


def _timm_block_routes(path: str, layer: int) -> dict[str, Route]:
    return {
        names.block_site(layer, names.HOOK_RESID_PRE): InputRoute(path),
        names.block_site(layer, names.HOOK_ATTN_OUT): OutputRoute(f"{path}.drop_path1"),
        names.block_site(layer, names.HOOK_MLP_POST): OutputRoute(f"{path}.mlp.act"),
        names.block_site(layer, names.HOOK_MLP_OUT): OutputRoute(f"{path}.drop_path2"),
        names.block_site(layer, names.HOOK_RESID_POST): OutputRoute(path),
    }
