"""What every family of models must keep, each on a tiny model with random weights."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP, hook_names as names
from tests.models.tiny import CTX, JOINT_ONLY_VISION, Tiny

N = 3


def hook_census(module: nn.Module) -> int:
    """Count everything that hangs on a module's parts."""
    n_hooks = 0
    for part in module.modules():
        n_hooks += len(part._forward_hooks) + len(part._forward_pre_hooks)
        n_hooks += len(part._backward_hooks) + len(part._backward_pre_hooks)
        n_hooks += sum(callable(value) for key, value in part.__dict__.items() if key == "_pool")
    return n_hooks


def embed(model: HookedCLIP, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Run both towers, which then both answer."""
    image_features, text_features = model(images=pixels, texts=tokens)
    assert image_features is not None and text_features is not None
    return image_features, text_features


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_output_is_bit_identical_without_hooks_and_under_caching(
    tiny: Tiny, model: HookedCLIP, grad: bool
) -> None:
    # Without gradients torch takes fused attention, whose choice must not depend on us.
    pixels, tokens = tiny.inputs(N)
    with torch.set_grad_enabled(grad):
        expected = tiny.embed(pixels, tokens)
        plain = embed(model, pixels, tokens)
        cached, _ = model.run_with_cache(images=pixels, texts=tokens)
        after = tiny.embed(pixels, tokens)
    for tower in (0, 1):
        assert torch.equal(plain[tower], expected[tower])
        assert torch.equal(cached[tower], expected[tower])
        assert torch.equal(after[tower], expected[tower])


def test_every_listed_hook_fires_once_in_order(tiny: Tiny, model: HookedCLIP) -> None:
    fired: list[str] = []

    def note(activation: Tensor, hook: object) -> None:
        fired.append(hook.name)  # type: ignore[attr-defined]

    pixels, tokens = tiny.inputs(N)
    with torch.no_grad():
        model.run_with_hooks(images=pixels, texts=tokens, fwd_hooks=[(lambda name: True, note)])
    assert fired == list(model.hook_dict)
    assert len(fired) >= 4


def test_sites_of_the_family(family: str, model: HookedCLIP) -> None:
    for tower in names.TOWERS:
        sites = [n.removeprefix(f"{tower}.") for n in model.hook_dict if n.startswith(tower)]
        n_layers = getattr(model.cfg, f"n_layers_{tower}")
        if tower == "vision" and family in JOINT_ONLY_VISION:
            assert sites == list(names.JOINT_SITES)
            assert n_layers == 0
            continue
        if tower == "text" and family == "hugging-face-text":
            assert sites == list(names.POOLED_SITES)
            assert n_layers == 0
            continue
        assert n_layers >= 2
        n_embed = 0 if tower == "vision" and "relpos" in family else 1
        assert len(sites) == n_embed + 5 * n_layers + len(names.POOLED_SITES)


def test_editing_any_hook_changes_its_own_tower_only(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    with torch.no_grad():
        image_before, text_before = embed(model, pixels, tokens)
        for name in model.hook_dict:
            generator = torch.Generator().manual_seed(1)

            def disturb(activation: Tensor, hook: object, generator=generator) -> Tensor:
                return activation + torch.randn(activation.shape, generator=generator)

            image, text = model.run_with_hooks(
                images=pixels, texts=tokens, fwd_hooks=[(name, disturb)]
            )
            image_moved = (image - image_before).abs().amax(dim=-1)
            text_moved = (text - text_before).abs().amax(dim=-1)
            moved, kept = image_moved, text_moved
            if names.tower_of(name) == "text":
                moved, kept = text_moved, image_moved
            # Every input moves by more than rounding, and the other tower not at all.
            assert moved.min() > 1e-6, name
            assert kept.max() == 0, name
        assert torch.equal(embed(model, pixels, tokens)[0], image_before)


def test_activations_have_the_layout_and_shapes_announced(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    with torch.no_grad():
        _, cache = model.run_with_cache(images=pixels, texts=tokens)
    shapes = model.hook_shapes()
    assert list(shapes) == list(model.hook_dict)
    for name, activation in cache.items():
        assert shapes[name] == ("batch", *activation.shape[1:])
        assert activation.shape[0] == N
        assert activation.ndim == (3 if names.is_token_site(name) else 2)
        width = getattr(model.cfg, f"d_{names.tower_of(name)}")
        if names.is_token_site(name) and not name.endswith(names.HOOK_MLP_POST):
            assert activation.shape[-1] == width
        if name.endswith(names.JOINT_SITES):
            assert activation.shape[-1] == model.cfg.d_joint
    text_tokens = {cache[n].shape[1] for n in cache if n.startswith("text") and cache[n].ndim == 3}
    # CoCa appends a class token to its captions.
    assert text_tokens <= {CTX, CTX + 1}


def test_block_sites_add_up(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    with torch.no_grad():
        _, cache = model.run_with_cache(images=pixels, texts=tokens)
    for tower in names.TOWERS:
        n_layers = getattr(model.cfg, f"n_layers_{tower}")
        for layer in range(n_layers):
            at = {
                site: cache[f"{tower}.{names.block_site(layer, site)}"]
                for site in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
            }
            total = at["hook_resid_pre"] + at["hook_attn_out"] + at["hook_mlp_out"]
            torch.testing.assert_close(total, at["hook_resid_post"])
            if layer + 1 < n_layers:
                following = cache[f"{tower}.{names.block_site(layer + 1, 'hook_resid_pre')}"]
                assert torch.equal(following, at["hook_resid_post"])


def test_pooled_sites_are_all_that_the_output_depends_on(tiny: Tiny, model: HookedCLIP) -> None:
    """Give the first input the second one's vector: it must come out as the second one."""

    def copy_second_to_first(activation: Tensor, hook: object) -> Tensor:
        return torch.cat([activation[1:2], activation[1:]])

    pixels, tokens = tiny.inputs(N)
    for name in model.hook_dict:
        if names.is_token_site(name):
            continue
        with torch.no_grad():
            before = embed(model, pixels, tokens)[names.TOWERS.index(names.tower_of(name))]
            out = model.run_with_hooks(
                images=pixels, texts=tokens, fwd_hooks=[(name, copy_second_to_first)]
            )[names.TOWERS.index(names.tower_of(name))]
        torch.testing.assert_close(out[0], out[1], msg=name)
        torch.testing.assert_close(out[1:], before[1:], msg=name)
        assert (out[0] - before[0]).abs().max() > 1e-5, name


def test_normalized_is_the_unit_vector_of_proj(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    with torch.no_grad():
        raw = model(images=pixels, texts=tokens, normalize=False)
        out, cache = model.run_with_cache(images=pixels, texts=tokens)
    for tower, features, unit in zip(names.TOWERS, raw, out, strict=True):
        assert torch.equal(cache[f"{tower}.hook_proj"], features)
        assert torch.equal(cache[f"{tower}.hook_normalized"], unit)
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(N))
        torch.testing.assert_close(unit, features / features.norm(dim=-1, keepdim=True))


def test_one_tower_alone(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    with torch.no_grad():
        image_both, text_both = embed(model, pixels, tokens)
        image, no_text = model(images=pixels)
        no_image, text = model(texts=tokens)
        _, cache = model.run_with_cache(texts=tokens)
    assert no_text is None and no_image is None
    assert image is not None and torch.equal(image, image_both)
    assert text is not None and torch.equal(text, text_both)
    assert cache and all(name.startswith("text.") for name in cache)


def test_gradients_reach_the_pixels_through_hooks(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)

    def pixel_gradient(fwd_hooks: list) -> Tensor:
        leaf = pixels.clone().requires_grad_()
        image, text = model.run_with_hooks(images=leaf, texts=tokens, fwd_hooks=fwd_hooks)
        (image * text.detach()).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    plain = pixel_gradient([])
    assert torch.isfinite(plain).all()
    assert plain.abs().amax(dim=(1, 2, 3)).min() > 0

    for name in (n for n in model.hook_dict if n.startswith("vision")):
        # An edit that is the identity in value but not to autograd.
        halved = pixel_gradient([(name, lambda a, hook: a.detach() * 0.5 + a * 0.5)])
        assert torch.isfinite(halved).all(), name
        assert (halved - plain).abs().max() > 0, name


def test_backward_hooks_see_gradients(tiny: Tiny, model: HookedCLIP) -> None:
    seen: dict[str, Tensor] = {}

    def note(gradient: Tensor, hook: object) -> None:
        seen[hook.name] = gradient  # type: ignore[attr-defined]

    pixels, tokens = tiny.inputs(N)
    pixels.requires_grad_()
    wanted = ["vision.hook_proj", "text.hook_proj", "text.hook_pooled"]
    with model.hooks(bwd_hooks=[(name, note) for name in wanted]):
        image, text = embed(model, pixels, tokens)
        (image * text).sum().backward()
    assert set(seen) == set(wanted)
    assert all(gradient.abs().max() > 0 for gradient in seen.values())


def test_stopping_early_saves_the_later_blocks(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    with torch.no_grad():
        _, full = model.run_with_cache(images=pixels, texts=tokens)
        given: dict[str, dict[str, Any]] = {"vision": {"images": pixels}, "text": {"texts": tokens}}
        for tower, inputs in given.items():
            n_layers = getattr(model.cfg, f"n_layers_{tower}")
            for layer in range(n_layers + 1 if n_layers else 0):
                out, cache = model.run_with_cache(**inputs, stop_at_layer=layer)
                resid = out[names.TOWERS.index(tower)]
                site = names.block_site(min(layer, n_layers - 1), "hook_resid_pre")
                if layer == n_layers:
                    site = names.block_site(layer - 1, "hook_resid_post")
                assert torch.equal(resid, full[f"{tower}.{site}"])
                # No hook from this block on may fire, since the block is not entered.
                expected = [n for n in full if n.startswith(tower)]
                cut = [
                    i for i, n in enumerate(expected) if n.startswith(f"{tower}.blocks.{layer}.")
                ]
                end = cut[0] if cut else expected.index(f"{tower}.hook_pooled")
                assert list(cache) == expected[:end]
            if n_layers:
                last, _ = model.run_with_cache(**inputs, stop_at_layer=-1)
                site = names.block_site(n_layers - 1, "hook_resid_pre")
                assert torch.equal(last[names.TOWERS.index(tower)], full[f"{tower}.{site}"])
    assert hook_census(model.clip) == 0


def test_blocks_after_the_stop_do_not_run(tiny: Tiny, model: HookedCLIP) -> None:
    if not model.cfg.n_layers_vision:
        pytest.skip("a convolutional tower has no blocks")
    pixels, _ = tiny.inputs(N)
    ran: list[int] = []
    paths = model._specs["vision"].block_paths
    handles = [
        model.clip.get_submodule(path).register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, path in enumerate(paths)
    ]
    model(images=pixels, stop_at_layer=1)
    for handle in handles:
        handle.remove()
    assert ran == [0]


def test_an_exception_leaves_nothing_behind(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    before = embed(model, pixels, tokens)

    class Oops(Exception):
        pass

    def fail(activation: Tensor, hook: object) -> None:
        raise Oops

    others = (lambda name: True, lambda activation, hook: activation * 2)
    for name in model.hook_dict:
        with pytest.raises(Oops):
            model.run_with_hooks(images=pixels, texts=tokens, fwd_hooks=[others, (name, fail)])
        assert hook_census(model.clip) == 0
        assert not model.list_hooks()
    after = embed(model, pixels, tokens)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


def test_nothing_hangs_on_the_wrapped_model_between_calls(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs(N)
    with model.hooks(fwd_hooks=[(lambda name: True, lambda activation, hook: activation * 2)]):
        embed(model, pixels, tokens)
        assert hook_census(model.clip) == 0
        # The wrapped model called by itself passes by every hook.
        untouched = tiny.embed(pixels, tokens)
    expected = tiny.embed(pixels, tokens)
    assert torch.equal(untouched[0], expected[0]) and torch.equal(untouched[1], expected[1])


def test_gradient_checkpointing_with_hooks_is_refused(family: str, tiny: Tiny) -> None:
    if family in (*JOINT_ONLY_VISION, "vit-norm-after-pool"):
        pytest.skip("nothing is recomputed, or open_clip itself cannot recompute such blocks")
    model = HookedCLIP.wrap(copy.deepcopy(tiny.clip))
    clip: Any = model.clip
    if family.startswith("transformers"):
        model.train()
        clip.gradient_checkpointing_enable()
    else:
        clip.visual.set_grad_checkpointing(True)
    n_hooks = hook_census(clip)
    pixels, _ = tiny.inputs(N)
    hooks: list = [("vision.blocks.0.hook_mlp_out", lambda activation, hook: activation * 2)]
    with pytest.raises(UserError, match="Gradient checkpointing"):
        model.run_with_hooks(images=pixels, fwd_hooks=hooks)
    assert hook_census(clip) == n_hooks
    # Neither without gradients nor without hooks is there anything to get wrong.
    with torch.no_grad():
        model.run_with_hooks(images=pixels, fwd_hooks=hooks)
    model(images=pixels)


CLASS_TOKENS = {
    "transformers-siglip": (False, 0),
    "resnet": (False, 0),
    "convnext": (False, 0),
    # A class token and four registers.
    "timm-vit_base_patch14_reg4_dinov2": (True, 5),
}


def test_tokens_before_the_patches_are_known(family: str, model: HookedCLIP) -> None:
    expected = CLASS_TOKENS.get(family, (True, 1))
    assert (model.has_class_token("vision"), model.n_prefix_tokens("vision")) == expected
    assert (model.has_class_token("text"), model.n_prefix_tokens("text")) == (False, 0)
    if model.cfg.n_layers_vision:
        n_tokens = int(model.hook_shapes()["vision.blocks.0.hook_resid_pre"][1])
        n_patches = n_tokens - model.n_prefix_tokens("vision")
        assert n_patches in (16, 100), "a square of patches is left"
