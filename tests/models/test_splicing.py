"""SAEs spliced in at hook points, and taken out again."""

import copy

import pytest
import torch
from sae_lens import SAE
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from tests.models.tiny import Tiny

ACTS = "hook_sae_acts_post"


def make_sae(d_in: int, seed: int = 0, **metadata: object) -> SAE:
    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=2 * d_in))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    for key, value in metadata.items():
        sae.cfg.metadata[key] = value
    return sae


def outputs(model: HookedCLIP, tiny: Tiny) -> tuple[Tensor, Tensor]:
    pixels, tokens = tiny.inputs()
    with torch.no_grad():
        image, text = model(images=pixels, texts=tokens)
    assert image is not None and text is not None
    return image, text


def same(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_an_sae_at_any_hook_reconstructs_what_flows_there(tiny: Tiny, model: HookedCLIP) -> None:
    plain = outputs(model, tiny)
    pixels, tokens = tiny.inputs()
    listed = list(model.hook_dict)
    points = dict(model.hook_dict)
    with torch.no_grad():
        _, cache = model.run_with_cache(images=pixels, texts=tokens)
        for name in listed:
            sae = make_sae(cache[name].shape[-1], hook_name=name)
            with model.saes(sae) as spliced:
                assert name not in spliced.hook_dict
                assert spliced.acts_to_saes == {name: sae}
                changed, inside = spliced.run_with_cache(images=pixels, texts=tokens)
            assert torch.equal(inside[f"{name}.hook_sae_input"], cache[name]), name
            assert torch.equal(inside[f"{name}.{ACTS}"], sae.encode(cache[name])), name
            assert not same(changed, plain), name
            # Everything is as it was, down to the hook point itself.
            assert list(model.hook_dict) == listed
            assert model.hook_dict[name] is points[name]
            assert same(outputs(model, tiny), plain), name


def test_output_is_the_reconstruction_at_the_joint_site(vit: Tiny, vit_model: HookedCLIP) -> None:
    plain = outputs(vit_model, vit)
    sae = make_sae(16, hook_name="vision.hook_normalized")
    vit_model.add_sae(sae)
    image, text = outputs(vit_model, vit)
    assert torch.equal(image, sae.decode(sae.encode(plain[0])))
    assert torch.equal(text, plain[1])
    vit_model.reset_saes("vision.hook_normalized")
    assert same(outputs(vit_model, vit), plain)
    assert vit_model.acts_to_saes == {}


# Without gradients throughout, since torch's fused attention rounds otherwise.
@torch.no_grad()
def test_a_shared_sae_serves_both_towers(vit: Tiny, vit_model: HookedCLIP) -> None:
    plain = outputs(vit_model, vit)
    both = ["vision.hook_normalized", "text.hook_normalized"]
    sae = make_sae(
        16, hook_name=both[0], hook_name_image=both[0], hook_name_text=both[1], weights_id=None
    )
    pixels, tokens = vit.inputs()
    (image, text), cache = vit_model.run_with_cache_with_saes(images=pixels, texts=tokens, saes=sae)
    assert torch.equal(image, sae(plain[0])) and torch.equal(text, sae(plain[1]))
    assert torch.equal(cache[f"{both[0]}.{ACTS}"], sae.encode(plain[0]))
    assert torch.equal(cache[f"{both[1]}.{ACTS}"], sae.encode(plain[1]))

    # An edit of one tower's latents does not reach the other's.
    ablate = (f"{both[1]}.{ACTS}", lambda acts, hook: acts * 0)
    edited = vit_model.run_with_hooks_with_saes(
        images=pixels, texts=tokens, saes=sae, fwd_hooks=[ablate]
    )
    assert torch.equal(edited[0], image)
    assert torch.equal(edited[1], sae.decode(torch.zeros(3, 32)))

    # The weights are shared, not copied.
    with vit_model.saes(sae):
        sae.b_dec.add_(1)
        assert torch.equal(outputs(vit_model, vit)[1], sae(plain[1]))
    assert same(outputs(vit_model, vit), plain)


def test_the_error_term_keeps_the_output(vit: Tiny, vit_model: HookedCLIP) -> None:
    plain = outputs(vit_model, vit)
    name = "text.blocks.1.hook_resid_post"
    sae = make_sae(24, hook_name=name)
    with vit_model.saes(sae, use_error_term=True):
        for before, after in zip(plain, outputs(vit_model, vit), strict=True):
            torch.testing.assert_close(after, before)
        _, tokens = vit.inputs()
        scale = (f"{name}.{ACTS}", lambda acts, hook: acts * 2)
        edited = vit_model.run_with_hooks(texts=tokens, fwd_hooks=[scale])[1]
    assert (edited - plain[1]).abs().max() > 1e-4


def test_nested_saes_are_restored_in_turn(vit: Tiny, vit_model: HookedCLIP) -> None:
    name = "vision.blocks.0.hook_mlp_out"
    outer, inner = (make_sae(32, seed, hook_name=name) for seed in (1, 2))
    plain = outputs(vit_model, vit)
    vit_model.add_sae(outer)
    with_outer = outputs(vit_model, vit)
    with vit_model.saes([inner]):
        assert vit_model.acts_to_saes == {name: inner}
        assert not same(outputs(vit_model, vit), with_outer)
    assert vit_model.acts_to_saes == {name: outer}
    assert same(outputs(vit_model, vit), with_outer)
    pixels, tokens = vit.inputs()
    inside = vit_model.run_with_saes(images=pixels, texts=tokens, saes=inner)
    assert not same(inside, with_outer)
    assert same(outputs(vit_model, vit), with_outer)
    vit_model.reset_saes()
    assert same(outputs(vit_model, vit), plain)


def test_hooks_on_a_displaced_hook_point_come_back(vit: Tiny, vit_model: HookedCLIP) -> None:
    pixels, _ = vit.inputs()
    name = "vision.hook_proj"
    vit_model.add_hook(name, lambda acts, hook: acts * 2, is_permanent=True)
    hooked = outputs(vit_model, vit)
    vit_model.run_with_saes(images=pixels, saes=make_sae(16, hook_name=name))
    assert same(outputs(vit_model, vit), hooked)


def test_an_exception_takes_the_saes_out(vit: Tiny, vit_model: HookedCLIP) -> None:
    plain = outputs(vit_model, vit)
    good = make_sae(32, hook_name="vision.blocks.1.hook_resid_post")
    with pytest.raises(RuntimeError, match="stop"), vit_model.saes(good):
        raise RuntimeError("stop")
    with pytest.raises(UserError), vit_model.saes([good, make_sae(32, hook_name="nowhere")]):
        pytest.fail("the second SAE must be refused")
    assert vit_model.acts_to_saes == {}
    assert same(outputs(vit_model, vit), plain)


def test_gradients_reach_the_pixels_through_an_sae(vit: Tiny, vit_model: HookedCLIP) -> None:
    pixels, _ = vit.inputs()
    pixels.requires_grad_()
    sae = make_sae(16, hook_name="vision.hook_normalized")
    image = vit_model.run_with_saes(images=pixels, saes=sae)[0]
    image.sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().max() > 0


def test_a_half_precision_model_keeps_its_dtype(vit: Tiny, vit_model: HookedCLIP) -> None:
    pixels, _ = vit.inputs()
    vit_model.to(torch.bfloat16)
    sae = make_sae(32, hook_name="vision.blocks.0.hook_resid_post")
    image = vit_model.run_with_saes(images=pixels, saes=sae)[0]
    assert image.dtype == torch.bfloat16


def test_the_sae_is_no_part_of_the_model(vit_model: HookedCLIP) -> None:
    keys = set(vit_model.state_dict())
    vit_model.add_sae(make_sae(16, hook_name="text.hook_proj"))
    assert set(vit_model.state_dict()) == keys
    assert not any(isinstance(module, SAE) for module in vit_model.modules())


def test_a_copied_model_carries_its_saes(vit: Tiny, vit_model: HookedCLIP) -> None:
    vit_model.add_sae(make_sae(16, hook_name="text.hook_proj"))
    twin = copy.deepcopy(vit_model)
    assert same(outputs(twin, vit), outputs(vit_model, vit))
    twin.reset_saes()
    assert not same(outputs(twin, vit), outputs(vit_model, vit))


@pytest.mark.parametrize(
    ("d_in", "metadata", "message"),
    [
        (
            16,
            {"hook_name": "vision.hook_normal"},
            r"no hook 'vision\.hook_normal'.*hook_normalized",
        ),
        (16, {}, "names no hook"),
        (24, {"hook_name": "vision.hook_proj"}, "width 24, but 'vision.hook_proj' is 16 wide"),
        (
            16,
            {"hook_name": "vision.hook_proj", "weights_id": "open_clip:ViT-L-14/openai"},
            r"trained on open_clip:ViT-L-14/openai and this model is sha256:",
        ),
        (
            16,
            {"hook_name": "vision.hook_proj", "normalization": "per_modality_scale"},
            "normalised by 'per_modality_scale'.*fold_normalization",
        ),
        (
            16,
            {"hook_name": "vision.hook_proj", "hook_name_out": "text.hook_proj"},
            "a transcoder from 'vision.hook_proj' to 'text.hook_proj'",
        ),
    ],
)
def test_a_wrong_sae_is_refused(
    vit_model: HookedCLIP, d_in: int, metadata: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        vit_model.add_sae(make_sae(d_in, **metadata))
    assert vit_model.acts_to_saes == {}


def test_the_hook_can_be_given_and_its_name_is_explained_once_taken(vit_model: HookedCLIP) -> None:
    vit_model.add_sae(make_sae(16, weights_id=vit_model.weights_id), hook_name="text.hook_proj")
    assert list(vit_model.acts_to_saes) == ["text.hook_proj"]
    with pytest.raises(UserError, match=r"An SAE is spliced in at 'text\.hook_proj'"):
        vit_model.check_hook("text.hook_proj")
    vit_model.check_hook(f"text.hook_proj.{ACTS}")


def test_the_same_sae_twice_at_one_hook_is_one_sae(vit: Tiny, vit_model: HookedCLIP) -> None:
    sae = make_sae(16, hook_name="text.hook_proj")
    vit_model.add_sae(sae)
    once = outputs(vit_model, vit)
    vit_model.add_sae(sae)
    assert same(outputs(vit_model, vit), once)
    vit_model.reset_saes()
    assert type(vit_model.hook_dict["text.hook_proj"]) is HookPoint


def test_an_sae_folded_for_images_is_not_spliced_into_the_text_tower(vit_model: HookedCLIP) -> None:
    width = vit_model.cfg.d_joint
    folded = make_sae(width, hook_name="vision.hook_proj", folded_modality="image")
    vit_model.add_sae(folded)
    with pytest.raises(UserError, match="folded for image activations"):
        vit_model.add_sae(folded, hook_name="text.hook_proj")
    vit_model.reset_saes()


@pytest.mark.parametrize("site", ["hook_pooled", "blocks.0.hook_mlp_post", "hook_embed"])
@pytest.mark.parametrize("tower", ["vision", "text"])
def test_an_sae_of_another_width_is_refused_naming_both(
    vit: Tiny, vit_model: HookedCLIP, tower: str, site: str
) -> None:
    pixels, tokens = vit.inputs()
    name = f"{tower}.{site}"
    sae = make_sae(7, hook_name=name)
    width = vit_model.hook_shapes()[name][-1]
    message = f"takes vectors of width 7, but '{name}' is {width} wide"
    with pytest.raises(UserError, match=message):
        vit_model.run_with_saes(images=pixels, texts=tokens, saes=[sae])
    with pytest.raises(UserError, match=message), vit_model.saes([sae]):
        vit_model(images=pixels, texts=tokens)
    with pytest.raises(UserError, match=message):
        vit_model.add_sae(sae)
        vit_model(images=pixels, texts=tokens)
    vit_model.reset_saes()
    outputs(vit_model, vit)


def test_what_is_no_sae_is_refused(vit: Tiny, vit_model: HookedCLIP, any_types: None) -> None:
    pixels, _ = vit.inputs()
    for wrong, kind in (("folder", "a str"), (None, "None"), (["folder"], "a str")):
        message = rf"add_sae takes an SAE, not {kind}: load_sae\(folder\) gives one"
        with pytest.raises(UserError, match=message):
            vit_model.run_with_saes(images=pixels, saes=wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(UserError, match=message), vit_model.saes(wrong):  # pyright: ignore[reportArgumentType]
            pass
    with pytest.raises(UserError, match="add_sae takes an SAE, not a str"):
        vit_model.add_sae("folder")  # pyright: ignore[reportArgumentType]
