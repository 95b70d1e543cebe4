"""Values at the sites of timm's transformers, against plain hooks and timm's own arithmetic."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from mm_sae_plugin.models import HookedCLIP
from tests.models.tiny import TIMM_TRUNKS, build_timm


@pytest.fixture(params=TIMM_TRUNKS, scope="module")
def hooked(request: pytest.FixtureRequest) -> tuple[Any, Tensor, dict[str, Tensor]]:
    """A trunk, its pixels, and what passed its hook points."""
    tiny = build_timm(request.param)
    pixels, _ = tiny.inputs()
    with torch.no_grad():
        _, cache = HookedCLIP.wrap(tiny.clip).run_with_cache(images=pixels)
    return tiny.clip.visual.trunk, pixels, cache


def flows(trunk: nn.Module, pixels: Tensor, *paths: str) -> dict[str, Tensor]:
    """Run a trunk by itself and return what its parts give out, by plain torch hooks."""
    seen: dict[str, Tensor] = {}
    handles = [
        trunk.get_submodule(path).register_forward_hook(
            lambda module, args, output, path=path: seen.update({path: output})
        )
        for path in paths
    ]
    with torch.no_grad():
        trunk(pixels)
    for handle in handles:
        handle.remove()
    return seen


def test_the_residual_stream_is_the_blocks_own(hooked) -> None:
    trunk, pixels, cache = hooked
    seen = flows(trunk, pixels, "blocks.0", "blocks.1")
    for layer in (0, 1):
        assert torch.equal(cache[f"vision.blocks.{layer}.hook_resid_post"], seen[f"blocks.{layer}"])
    assert torch.equal(cache["vision.blocks.1.hook_resid_pre"], seen["blocks.0"])
    if "vision.hook_embed" in cache:
        tokens = trunk.norm_pre(cache["vision.hook_embed"]) if hasattr(trunk, "norm_pre") else None
        expected = cache["vision.hook_embed"] if tokens is None else tokens
        assert torch.equal(expected, cache["vision.blocks.0.hook_resid_pre"])


def test_hidden_units_are_what_the_last_matrix_of_an_mlp_reads(hooked) -> None:
    trunk, _, cache = hooked
    with torch.no_grad():
        for layer in (0, 1):
            mlp = trunk.blocks[layer].mlp
            hidden = cache[f"vision.blocks.{layer}.hook_mlp_post"]
            normed = trunk.blocks[layer].norm2(
                cache[f"vision.blocks.{layer}.hook_resid_pre"]
                + cache[f"vision.blocks.{layer}.hook_attn_out"]
            )
            torch.testing.assert_close(mlp.fc2(mlp.norm(hidden)), mlp(normed))


def test_the_pooled_vector_stands_before_the_projection(hooked) -> None:
    trunk, pixels, cache = hooked
    with torch.no_grad():
        tokens = trunk.forward_features(pixels)
        pooled = trunk.forward_head(tokens, pre_logits=True)
    assert pooled.shape == (3, 32)
    assert torch.equal(cache["vision.hook_pooled"], pooled)


# A norm after each branch; rotary positions with registers; a packed gated MLP.
@pytest.mark.parametrize(
    "trunk",
    ["vit_base_patch16_rpn_224", "vit_small_plus_patch16_dinov3", "vit_giant_patch14_dinov2"],
)
def test_blocks_of_other_kinds_add_up(trunk: str) -> None:
    tiny = build_timm("eva_giant_patch14_224")
    small = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    tiny.clip.visual.trunk = timm.create_model(trunk, **small).eval()  # pyright: ignore[reportArgumentType]
    tiny.clip.visual.head = nn.Sequential(nn.Linear(32, 16))
    model = HookedCLIP.wrap(tiny.clip)
    pixels, _ = tiny.inputs()
    with torch.no_grad():
        out, cache = model.run_with_cache(images=pixels)
        assert torch.equal(out[0], tiny.clip.encode_image(pixels, normalize=True))
    block = "vision.blocks.1.hook_"
    assert [n for n in cache if n.startswith(block)] == [
        f"{block}{site}" for site in ("resid_pre", "attn_out", "mlp_post", "mlp_out", "resid_post")
    ]
    torch.testing.assert_close(
        cache[block + "resid_pre"] + cache[block + "attn_out"] + cache[block + "mlp_out"],
        cache[block + "resid_post"],
    )


def test_a_block_that_runs_its_branches_at_once_has_its_stream_only() -> None:
    from timm.models.vision_transformer import ParallelScalingBlock

    tiny = build_timm("eva_giant_patch14_224")
    tiny.clip.visual.trunk = timm.create_model(
        "vit_base_patch16_224",
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=2,
        num_heads=2,
        num_classes=0,
        block_fn=ParallelScalingBlock,
    ).eval()
    tiny.clip.visual.head = nn.Sequential(nn.Linear(32, 16))
    model = HookedCLIP.wrap(tiny.clip)
    _, cache = model.run_with_cache(images=tiny.inputs()[0])
    assert list(cache) == [n for n in model.hook_dict if n.startswith("vision")]
    sites = {n.rsplit(".", 1)[1] for n in cache if "blocks" in n}
    assert sites == {"hook_resid_pre", "hook_resid_post"}


def test_a_gated_mlp_with_one_matrix_for_both_halves() -> None:
    from timm.layers.mlp import GluMlp

    tiny = build_timm("vit_base_patch14_reg4_dinov2")
    trunk = tiny.clip.visual.trunk
    for block in trunk.blocks:
        block.mlp = GluMlp(32, 48, act_layer=nn.SiLU, gate_last=False)
    _, cache = HookedCLIP.wrap(tiny.clip).run_with_cache(images=tiny.inputs()[0])
    assert cache["vision.blocks.0.hook_mlp_post"].shape[-1] == 24


@pytest.mark.parametrize(("trunk", "n_prefix"), [("vit_base_patch14_reg4_dinov2", 5)])
def test_registers_are_counted_with_the_class_token(trunk: str, n_prefix: int) -> None:
    model = HookedCLIP.wrap(build_timm(trunk).clip)
    assert model.has_class_token("vision") and model.n_prefix_tokens("vision") == n_prefix
    assert model.hook_shapes()["vision.hook_embed"] == ("batch", 16 + n_prefix, 32)


def test_registers_without_a_class_token() -> None:
    tiny = build_timm("vit_base_patch14_reg4_dinov2")
    small = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    tiny.clip.visual.trunk = timm.create_model(
        "vit_base_patch16_224",
        class_token=False,
        reg_tokens=3,
        global_pool="avg",
        **small,  # pyright: ignore[reportArgumentType]
    )
    model = HookedCLIP.wrap(tiny.clip)
    assert not model.has_class_token("vision") and model.n_prefix_tokens("vision") == 3
