"""Vision towers of open_clip: its own ViT, timm transformers, and convolutional towers.

``TOWERS`` at the end is the one place that a new kind of tower is entered in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from mm_sae_plugin.hooks.inspection import uncompiled
from mm_sae_plugin.hooks.routes import InputRoute, MethodRoute, OutputRoute, Route
from mm_sae_plugin.models import hook_names as names
from mm_sae_plugin.models.families.timm_vision import is_timm_transformer, timm_spec
from mm_sae_plugin.models.towers import TowerSpec


@dataclass(frozen=True)
class VisionTower:
    """A kind of vision tower: how it is known and where its hook points lie."""

    kind: str
    """Its name, the second half of ``HookedCLIPConfig.family``."""
    knows: Callable[[nn.Module], bool]
    """Says whether a model's ``visual`` is of this kind."""
    spec: Callable[[Any], TowerSpec]
    """Returns the routes of ``visual``."""


def vision_tower(clip: Any) -> VisionTower:
    """Return the kind of a model's vision tower: the first of ``TOWERS`` that knows it."""
    visual = uncompiled(clip.visual)
    return next(tower for tower in TOWERS if tower.knows(visual))


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


def _is_vit(visual: nn.Module) -> bool:
    from open_clip.transformer import VisionTransformer

    return isinstance(visual, VisionTransformer)


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
    return TowerSpec(
        routes,
        paths,
        visual.transformer.width,
        # It stands before the patches however the tower pools.
        has_class_token=True,
        n_prefix_tokens=1,
        batch_first=batch_first,
    )


def _is_resnet(visual: nn.Module) -> bool:
    from open_clip.modified_resnet import ModifiedResNet

    return isinstance(visual, ModifiedResNet)


def _is_any(visual: nn.Module) -> bool:
    return True


def _joint_sites_only(visual: nn.Module) -> TowerSpec:
    return TowerSpec()


TOWERS = (
    VisionTower("vit", _is_vit, _vit_spec),
    VisionTower("timm_vit", is_timm_transformer, timm_spec),
    VisionTower("resnet", _is_resnet, _joint_sites_only),
    VisionTower("timm_conv", _is_any, _joint_sites_only),
)
