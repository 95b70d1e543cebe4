"""Nothing asked for is silently left out: compiled parts, hooks and SAEs beside the way."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from tests.models.test_splicing import make_sae
from tests.models.tiny import Tiny

MLP_OUT = "vision.blocks.0.hook_mlp_out"


def zero(activation: Tensor, hook: object) -> Tensor:
    return activation * 0


def compile_in_place(clip: Any, path: str) -> None:
    clip.get_submodule(path).compile(backend="eager")


def wrap_compiled(clip: Any, path: str) -> None:
    owner, _, name = path.rpartition(".")
    part = torch.compile(clip.get_submodule(path), backend="eager")
    setattr(clip.get_submodule(owner), name, part)


@pytest.fixture(params=[compile_in_place, wrap_compiled])
def compile_part(request: pytest.FixtureRequest) -> Callable[[Any, str], None]:
    """A way to compile a part of a model."""
    torch._dynamo.reset()
    return request.param


@pytest.mark.parametrize("path", ["visual", "visual.transformer", "visual.transformer.resblocks.0"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_compiled_part_on_the_way_is_refused(
    vit: Tiny, compile_part: Callable[[Any, str], None], path: str, when: str
) -> None:
    if when == "before":
        compile_part(vit.clip, path)
    model = HookedCLIP.wrap(vit.clip)
    if when == "after":
        compile_part(vit.clip, path)
    pixels, tokens = vit.inputs()
    message = f"'{path}' of the wrapped model is compiled or scripted"
    uses: list[Callable[[], Any]] = [
        lambda: model.run_with_hooks(images=pixels, fwd_hooks=[(MLP_OUT, zero)]),
        lambda: model.run_with_cache(images=pixels, names_filter=MLP_OUT),
        lambda: model.run_with_saes(images=pixels, saes=make_sae(32, hook_name=MLP_OUT)),
        lambda: model(images=pixels, stop_at_layer=0),
    ]
    with torch.no_grad():
        for use in uses:
            with pytest.raises(UserError, match=message):
                use()
        # What does not run through it goes on: the joint sites, and the other tower.
        image, cache = model.run_with_cache(images=pixels, names_filter="vision.hook_proj")
        assert image[0] is not None and list(cache) == ["vision.hook_proj"]
        edited = model.run_with_hooks(
            texts=tokens, fwd_hooks=[("text.blocks.0.hook_mlp_out", zero)]
        )[1]
        assert not torch.equal(edited, model(texts=tokens)[1])


def test_a_compiled_part_beside_the_way_does_not_matter(vit: Tiny) -> None:
    model = HookedCLIP.wrap(vit.clip)
    pixels, _ = vit.inputs()
    with torch.no_grad():
        expected = model.run_with_hooks(images=pixels, fwd_hooks=[(MLP_OUT, zero)])[0]
        vit.clip.visual.transformer.resblocks[1].compile(backend="eager")
        edited = model.run_with_hooks(images=pixels, fwd_hooks=[(MLP_OUT, zero)])[0]
    torch.testing.assert_close(edited, expected)


def test_a_compiled_tower_keeps_its_hook_names(tiny: Tiny, family: str, model: HookedCLIP) -> None:
    clip = copy.deepcopy(tiny.clip)
    for name in ("visual", "text", "transformer", "vision_model", "text_model"):
        if isinstance(getattr(clip, name, None), nn.Module):
            wrap_compiled(clip, name)
    again = HookedCLIP.wrap(clip)
    assert list(again.hook_dict) == list(model.hook_dict)
    assert again.cfg.family == model.cfg.family


def test_a_model_compiled_in_place_runs_by_its_methods(vit: Tiny) -> None:
    vit.clip.compile(backend="eager")
    model = HookedCLIP.wrap(vit.clip)
    pixels, _ = vit.inputs()
    with torch.no_grad():
        edited = model.run_with_hooks(images=pixels, fwd_hooks=[(MLP_OUT, zero)])[0]
        assert not torch.equal(edited, model(images=pixels)[0])


@pytest.mark.parametrize(
    "arguments",
    [
        dict(names=["text.hook_proj"]),
        dict(names=["vision.hook_normalized"], normalize=False),
        dict(names=["vision.hook_proj"], stop_at_layer=1),
        dict(names=["vision.blocks.1.hook_resid_pre", "vision.hook_embed"], stop_at_layer=1),
    ],
    ids=str,
)
def test_a_hook_beside_the_way_is_an_error(vit: Tiny, vit_model: HookedCLIP, arguments) -> None:
    pixels, _ = vit.inputs()
    missed, *others = arguments.pop("names")
    message = f"The hook '{missed}' did not fire in this forward pass: give the {missed[:4]}"
    for names_filter in ([missed, *others], (*others, missed)):
        with pytest.raises(UserError, match=message):
            vit_model.run_with_cache(images=pixels, names_filter=names_filter, **arguments)
    hooks = [(name, zero) for name in (*others, missed)]
    with pytest.raises(UserError, match=message):
        vit_model.run_with_hooks(images=pixels, fwd_hooks=hooks, **arguments)
    assert not vit_model.list_hooks()


def test_a_filter_that_names_nothing_on_the_way_is_an_error(
    vit: Tiny, vit_model: HookedCLIP
) -> None:
    pixels, _ = vit.inputs()

    def texts_only(name: str) -> bool:
        return name.startswith("text")

    with pytest.raises(UserError, match="No hook that the filter names fired"):
        vit_model.run_with_cache(images=pixels, names_filter=texts_only)
    with pytest.raises(UserError, match="No hook that the filter names fired"):
        vit_model.run_with_hooks(images=pixels, fwd_hooks=[(texts_only, zero)])
    assert vit_model.run_with_cache(images=pixels, names_filter=lambda n: not texts_only(n))[1]


def test_an_sae_beside_the_way_is_an_error(vit: Tiny, vit_model: HookedCLIP) -> None:
    pixels, tokens = vit.inputs()
    both = dict(hook_name_image="vision.hook_normalized", hook_name_text="text.hook_normalized")
    shared = make_sae(16, hook_name="vision.hook_normalized", **both)  # pyright: ignore[reportArgumentType]
    assert vit_model.run_with_saes(images=pixels, saes=shared)[0] is not None
    for run in (
        vit_model.run_with_saes,
        vit_model.run_with_cache_with_saes,
        vit_model.run_with_hooks_with_saes,
    ):
        with pytest.raises(UserError, match=r"Nothing passed the SAE at 'vision.* and 'text"):
            run(images=pixels, normalize=False, saes=shared)
        one = make_sae(16, hook_name="vision.hook_proj")
        with pytest.raises(UserError, match=r"Nothing passed the SAE at 'vision\.hook_proj' in"):
            run(texts=tokens, saes=[shared, one])
    assert vit_model.acts_to_saes == {}


def test_there_is_no_one_output_to_go_backward_from(vit: Tiny, vit_model: HookedCLIP) -> None:
    with pytest.raises(UserError, match=r"leave incl_bwd out, .* model\.hooks\(bwd_hooks=…\)"):
        vit_model.run_with_cache(images=vit.inputs()[0], incl_bwd=True)


# Every way to set a forward hook goes through one check.
def _by_run(model: HookedCLIP, pixels: Tensor, function: Any) -> None:
    model.run_with_hooks(images=pixels, fwd_hooks=[(MLP_OUT, function)])


def _by_hooks(model: HookedCLIP, pixels: Tensor, function: Any) -> None:
    with model.hooks(fwd_hooks=[(lambda name: name == MLP_OUT, function)]):
        model(images=pixels)


def _by_add_hook(model: HookedCLIP, pixels: Tensor, function: Any) -> None:
    model.add_hook(MLP_OUT, function)
    try:
        model(images=pixels)
    finally:
        model.reset_hooks()


@pytest.mark.parametrize("set_hook", [_by_run, _by_hooks, _by_add_hook])
def test_a_hook_that_returns_something_else_is_refused(
    vit: Tiny, vit_model: HookedCLIP, set_hook: Callable[..., None]
) -> None:
    pixels, _ = vit.inputs()
    for function, message in (
        (lambda act, hook: act[:, :1], r"returned the shape \[3, 1, 32\] for \[3, 17, 32\]"),
        (lambda act, hook: act.double(), r"returned torch\.float64 for torch\.float32"),
        (lambda act, hook: (act,), "returned a tuple"),
        (lambda act, hook: 3, "returned an int"),
    ):
        with torch.no_grad(), pytest.raises(UserError, match=f"hook at '{MLP_OUT}' {message}"):
            set_hook(vit_model, pixels, function)
    set_hook(vit_model, pixels, lambda act, hook: None)


def test_autocast_may_change_what_a_hook_returns(vit: Tiny, vit_model: HookedCLIP) -> None:
    pixels, _ = vit.inputs()

    def through_a_product(act: Tensor, hook: object) -> Tensor:
        return act.float() @ torch.eye(act.shape[-1])

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        hooks = [("vision.blocks.0.hook_resid_post", through_a_product)]
        vit_model.run_with_hooks(images=pixels, fwd_hooks=hooks)


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ([MLP_OUT], r"must hold \(name, function\) pairs, not 'vision"),
        (["ab"], r"must hold \(name, function\) pairs, not 'ab'"),
        (MLP_OUT, r"must be a list of \(name, function\) pairs, not a str"),
        (3, r"must be a list of \(name, function\) pairs, not an int"),
        ([(zero, MLP_OUT)], "must be a function of an activation, not a str"),
        ([(MLP_OUT, None)], "must be a function of an activation, not None"),
        ([(3, zero)], r"not by an int \(3\)"),
    ],
)
def test_hooks_that_are_no_pairs_are_refused(
    vit: Tiny, vit_model: HookedCLIP, any_types: None, hooks: Any, message: str
) -> None:
    pixels, _ = vit.inputs()
    with pytest.raises(UserError, match=message):
        vit_model.run_with_hooks(images=pixels, fwd_hooks=hooks)
    with pytest.raises(UserError, match=message), vit_model.hooks(fwd_hooks=hooks):
        pass
    with pytest.raises(UserError, match=message.replace("fwd_hooks", "bwd_hooks")):
        vit_model.hooks(bwd_hooks=hooks)


def test_an_image_of_a_size_that_the_tower_cannot_run_is_refused(
    tiny: Tiny, family: str, model: HookedCLIP
) -> None:
    size = tiny.size
    with torch.no_grad():
        if family == "convnext":
            assert model(images=torch.randn(1, 3, size - 32, size + 32))[0] is not None
            return
        message = f"images must be {size} × {size} pixels for tiny, not {size - 15} × {size - 15} "
        with pytest.raises(UserError, match=message):
            model(images=torch.randn(2, 3, size - 15, size - 15))


def test_captions_of_a_length_that_the_tower_cannot_run_are_refused(
    vit: Tiny, vit_model: HookedCLIP
) -> None:
    with pytest.raises(UserError, match="texts must be 12 tokens long for tiny, not 30 "):
        vit_model(texts=torch.ones(2, 30, dtype=torch.long))


def test_an_error_at_the_right_size_stays_what_it_is(vit: Tiny, vit_model: HookedCLIP) -> None:
    def failing(activation: Tensor, hook: object) -> None:
        raise ValueError("my own")

    with pytest.raises(ValueError, match="my own"):
        vit_model.run_with_hooks(images=vit.inputs()[0], fwd_hooks=[(MLP_OUT, failing)])
