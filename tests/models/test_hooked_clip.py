"""HookedCLIP as a module: state, movement, copying, inputs, and what it refuses."""

import copy
import json
import pickle
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from tests.models.tiny import Tiny


def double(activation: Tensor, hook: object) -> Tensor:
    return activation * 2


def test_cfg_describes_the_model_and_is_json(vit: Tiny, vit_model: HookedCLIP) -> None:
    cfg = vit_model.cfg
    assert cfg.family == "open_clip.vit"
    assert (cfg.d_joint, cfg.d_vision, cfg.d_text) == (16, 32, 24)
    assert (cfg.n_layers_vision, cfg.n_layers_text) == (2, 3)
    assert (cfg.image_size, cfg.context_length) == ((32, 32), 12)
    assert (cfg.device, cfg.dtype) == ("cpu", "float32")
    assert json.loads(json.dumps(asdict(cfg)))["weights_id"] == vit_model.weights_id


def test_family_names(family: str, model: HookedCLIP) -> None:
    expected = {
        "siglip": "open_clip.timm_vit",
        "eva02": "open_clip.timm_vit",
        "timm-relpos": "open_clip.timm_vit",
        "coca": "open_clip.coca",
        "resnet": "open_clip.resnet",
        "convnext": "open_clip.timm_conv",
        "transformers-clip": "transformers.clip",
        "transformers-clip-old-eos": "transformers.clip",
        "transformers-siglip": "transformers.siglip",
    }
    assert model.cfg.family == expected.get(family, "open_clip.vit")


def test_moving_saving_and_modes_reach_the_wrapped_model(vit: Tiny, vit_model: HookedCLIP) -> None:
    vit_model.train()
    assert vit.clip.training and vit.clip.visual.transformer.resblocks[0].training
    vit_model.eval()
    assert not vit.clip.visual.transformer.resblocks[0].training

    state = vit_model.state_dict()
    assert {key.removeprefix("clip.") for key in state} == set(vit.clip.state_dict())
    zeroed = {key: torch.zeros_like(value) for key, value in state.items()}
    vit_model.load_state_dict(zeroed)
    assert all(value.abs().max() == 0 for value in vit.clip.state_dict().values())

    assert vit_model.to(torch.bfloat16) is vit_model
    assert vit.clip.visual.conv1.weight.dtype == torch.bfloat16
    assert vit_model.cfg.dtype == "bfloat16"
    vit_model.to("meta")
    assert vit.clip.visual.conv1.weight.device.type == "meta"
    assert vit_model.cfg.device == "meta"


def test_wrapping_keeps_the_training_mode(vit: Tiny) -> None:
    vit.clip.train()
    model = HookedCLIP.wrap(vit.clip)
    assert model.training and vit.clip.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_on_float_pixels(tiny: Tiny, dtype: torch.dtype) -> None:
    model = HookedCLIP.wrap(copy.deepcopy(tiny.clip)).to(dtype)
    pixels, tokens = tiny.inputs()
    with torch.no_grad():
        (image, text), cache = model.run_with_cache(images=pixels, texts=tokens)
        reference = tiny.embed(pixels, tokens)
    assert image.dtype == text.dtype == dtype
    assert all(activation.dtype == dtype for activation in cache.values())
    for half, full in zip((image, text), reference, strict=True):
        torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0)


def test_copies_are_hooked_to_themselves(tiny: Tiny, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            for parameter in other.clip.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            expected = model(images=pixels, texts=tokens)
            moved = other(images=pixels, texts=tokens)
            _, cache = other.run_with_cache(images=pixels, texts=tokens)
        assert other.clip is not model.clip
        assert (moved[0] - expected[0]).abs().max() > 1e-5
        assert list(cache) == list(model.hook_dict)
        assert torch.equal(cache["text.hook_normalized"], moved[1])


def test_weights_id_is_a_hash_of_the_weights(vit: Tiny, vit_model: HookedCLIP) -> None:
    assert vit_model.weights_id.startswith("sha256:")
    assert len(vit_model.weights_id) == len("sha256:") + 16
    assert HookedCLIP.wrap(copy.deepcopy(vit.clip)).weights_id == vit_model.weights_id
    with torch.no_grad():
        vit.clip.visual.proj[0, 0] += 1e-3
    assert HookedCLIP.wrap(vit.clip).weights_id != vit_model.weights_id
    assert HookedCLIP.wrap(vit.clip, weights_id="mine").cfg.weights_id == "mine"
    vit.clip.to(torch.bfloat16)
    assert HookedCLIP.wrap(vit.clip).weights_id.startswith("sha256:")


def test_captions_and_pictures_are_accepted_as_such(vit: Tiny, vit_model: HookedCLIP) -> None:
    captions = ["a cat", "two dogs"]
    assert vit_model.tokenizer is not None
    expected = vit_model(texts=vit_model.tokenizer(captions))[1]
    assert torch.equal(vit_model(texts=captions)[1], expected)
    assert torch.equal(vit_model(texts="a cat")[1], vit_model(texts=["a cat"])[1])

    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    vit_model.preprocess = lambda picture: torch.full(
        (3, 32, 32), float(picture.getpixel((0, 0))[0])
    )
    pixels = torch.stack([vit_model.preprocess(picture) for picture in pictures])
    assert torch.equal(vit_model(images=pictures)[0], vit_model(images=pixels)[0])


def test_hooks_nest_and_stay_until_reset(vit: Tiny, vit_model: HookedCLIP) -> None:
    pixels, _ = vit.inputs()
    plain = vit_model(images=pixels, normalize=False)[0]
    vit_model.add_hook("vision.hook_proj", double)
    with vit_model.hooks(fwd_hooks=[("vision.hook_proj", double)]):
        with vit_model.hooks(fwd_hooks=[("vision.hook_proj", double)]):
            assert torch.equal(vit_model(images=pixels, normalize=False)[0], plain * 8)
        assert torch.equal(vit_model(images=pixels, normalize=False)[0], plain * 4)
    assert torch.equal(vit_model(images=pixels, normalize=False)[0], plain * 2)
    vit_model.reset_hooks()
    assert torch.equal(vit_model(images=pixels, normalize=False)[0], plain)


def test_a_plain_torch_hook_on_a_hook_point_works(vit: Tiny, vit_model: HookedCLIP) -> None:
    pixels, _ = vit.inputs()
    plain = vit_model(images=pixels)[0]
    point = vit_model.hook_dict["vision.blocks.0.hook_mlp_out"]
    handle = point.register_forward_hook(lambda *call: call[-1] * 3)
    assert not torch.equal(vit_model(images=pixels)[0], plain)
    handle.remove()
    assert torch.equal(vit_model(images=pixels)[0], plain)


def test_hook_normalized_is_silent_when_nothing_is_normalised(
    vit: Tiny, vit_model: HookedCLIP
) -> None:
    pixels, _ = vit.inputs()
    _, cache = vit_model.run_with_cache(images=pixels, normalize=False)
    assert "vision.hook_proj" in cache and "vision.hook_normalized" not in cache


@pytest.mark.parametrize(
    "use",
    [
        lambda model, name: model.check_hook(name),
        lambda model, name: model.add_hook(name, double),
        lambda model, name: model.run_with_hooks(texts="a", fwd_hooks=[(name, double)]),
        lambda model, name: model.run_with_cache(texts="a", names_filter=name),
        lambda model, name: model.run_with_cache(texts="a", names_filter=["text.hook_proj", name]),
    ],
)
def test_an_unknown_hook_is_named_with_its_neighbours(vit_model: HookedCLIP, use) -> None:
    with pytest.raises(UserError, match=r"vision\.hook_normalised.*'vision\.hook_normalized'"):
        use(vit_model, "vision.hook_normalised")
    assert not vit_model.list_hooks()


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Nothing to embed"),
        (
            {"images": torch.zeros(3, 32, 32)},
            r"\[batch, 3, height, width\], not \[3, 32, 32\]: add the batch .* images\[None\]",
        ),
        ({"images": torch.zeros(1, 4, 32, 32)}, "stack the outputs of model.preprocess"),
        ({"images": torch.zeros(1, 12, dtype=torch.long)}, "give token ids as texts=…"),
        ({"images": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)}, "not torch.uint8 values"),
        ({"images": Image.new("RGB", (8, 8))}, r"give one as images=\[picture\]"),
        ({"images": "a cat"}, "not a str: give captions as texts=…"),
        ({"images": 3}, "not an int: give captions"),
        ({"images": ["a cat"]}, "must hold PIL images, not a str: give captions as texts=…"),
        ({"images": np.zeros((2, 8, 8, 3))}, "arrays with PIL.Image.fromarray"),
        ({"images": [torch.zeros(3, 32, 32)]}, r"give torch\.stack\(images\)"),
        ({"images": []}, "images is empty"),
        ({"images": [Image.new("RGB", (8, 8))]}, "no preprocess"),
        ({"texts": torch.zeros(2, 12)}, "token ids"),
        ({"texts": torch.zeros(12, dtype=torch.long)}, r"one caption: add .* texts\[None\]"),
        ({"texts": Image.new("RGB", (8, 8))}, r"not an Image: give pictures as images=\[…\]"),
        ({"texts": [Image.new("RGB", (8, 8))]}, "must hold strings, not an Image"),
        ({"texts": ["a", None]}, "must hold strings, not None"),
        ({"texts": []}, "texts is empty"),
        ({"texts": "a", "stop_at_layer": 4}, "text tower has 3 layers"),
        ({"texts": "a", "stop_at_layer": -4}, "give a number from -3 to 3"),
    ],
)
def test_wrong_input_is_refused(vit_model: HookedCLIP, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        vit_model(**arguments)


@pytest.mark.usefixtures("any_types")
def test_a_lone_string_or_picture_is_explained(vit_model: HookedCLIP) -> None:
    with pytest.raises(UserError, match="give captions as texts=…"):
        vit_model("a cat")
    with pytest.raises(UserError, match=r"images=\[picture\]"):
        vit_model(Image.new("RGB", (8, 8)))


def test_embedding_one_side_as_open_clip_does(tiny: Tiny, family: str, model: HookedCLIP) -> None:
    pixels, tokens = tiny.inputs()
    with torch.no_grad():
        image, text = model(images=pixels, texts=tokens)
        raw_image, raw_text = model(images=pixels, texts=tokens, normalize=False)
        assert torch.equal(model.encode_image(pixels), raw_image)
        assert torch.equal(model.encode_text(tokens), raw_text)
        assert torch.equal(model.encode_image(pixels, normalize=True), image)
        assert torch.equal(model.encode_text(tokens, normalize=True), text)
        if not family.startswith("transformers"):
            bare = tiny.clip.encode_image(pixels, normalize=False)
            assert torch.equal(model.encode_image(pixels), bare)
        edited = ("vision.hook_proj", double)
        with model.hooks(fwd_hooks=[edited]):
            assert torch.equal(model.encode_image(pixels), raw_image * 2)
    assert model.logit_scale is tiny.clip.logit_scale
    assert model.logit_bias is getattr(tiny.clip, "logit_bias", None)


def test_captions_become_tokens(vit_model: HookedCLIP) -> None:
    tokens = vit_model.to_tokens(["a cat", "two dogs"])
    assert vit_model.tokenizer is not None
    assert torch.equal(tokens, vit_model.tokenizer(["a cat", "two dogs"]))
    assert torch.equal(vit_model.to_tokens("a cat"), tokens[:1])
    assert vit_model.to_tokens(tokens) is tokens


def test_strings_need_a_tokenizer(vit: Tiny) -> None:
    with pytest.raises(UserError, match="no tokenizer"):
        HookedCLIP.wrap(vit.clip)(texts="a cat")


def test_a_convolutional_tower_has_no_layer_to_stop_at() -> None:
    from tests.models.tiny import build

    tiny = build("resnet")
    model = HookedCLIP.wrap(tiny.clip)
    pixels, tokens = tiny.inputs()
    with pytest.raises(UserError, match="vision tower of CLIP has no blocks"):
        model(images=pixels, texts=tokens, stop_at_layer=1)


@pytest.mark.parametrize("other", [nn.Linear(2, 2), nn.DataParallel(nn.Linear(2, 2))])
def test_other_models_are_refused(other: nn.Module) -> None:
    with pytest.raises(UserError, match="cannot be wrapped"):
        HookedCLIP.wrap(other)
