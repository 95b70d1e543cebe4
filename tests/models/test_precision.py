"""Half precision in all of open_clip's ways, and training modes: a model runs as the bare one."""

from collections.abc import Iterator
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from mm_sae_plugin.models import HookedCLIP
from tests.models.tiny import TEXT, VISION, Tiny, build

NAME = "mm-sae-tiny-precision"
DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "pure_fp16": torch.float16,
    "pure_bf16": torch.bfloat16,
}


@pytest.fixture(params=["vit", "timm"])
def tiny_name(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    """A tiny architecture that open_clip knows: its own, or with one of timm's trunks."""
    import json

    vision: dict[str, Any] = dict(VISION)
    if request.param == "timm":
        vision = dict(timm_model_name="test_vit", timm_pool="avg", timm_proj="linear")
        vision["image_size"] = 160
    path = tmp_path / f"{NAME}-{request.param}.json"
    path.write_text(json.dumps(dict(embed_dim=16, vision_cfg=vision, text_cfg=TEXT)))
    open_clip.add_model_config(path)
    yield path.stem


@pytest.mark.parametrize("precision", DTYPES)
def test_a_model_of_any_precision_runs_as_the_bare_one(tiny_name: str, precision: str) -> None:
    torch.manual_seed(0)
    clip: Any = open_clip.create_model(tiny_name, precision=precision).eval()
    size = 160 if "timm" in tiny_name else 32
    pixels = torch.randn(2, 3, size, size)
    tokens = torch.randint(1, 99, (2, 12))
    model = HookedCLIP.wrap(clip)
    assert model.dtype == DTYPES[precision]
    with torch.no_grad():
        expected = (
            clip.encode_image(pixels.to(DTYPES[precision]), normalize=True),
            clip.encode_text(tokens, normalize=True),
        )
        plain = model(images=pixels, texts=tokens)
        cached, cache = model.run_with_cache(images=pixels, texts=tokens)
    for bare, ours, under_hooks in zip(expected, plain, cached, strict=True):
        assert torch.equal(ours, bare) and torch.equal(under_hooks, bare)
        assert torch.isfinite(bare).all()
    assert list(cache) == list(model.hook_dict)
    assert model.cfg.dtype == str(DTYPES[precision]).removeprefix("torch.")


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: part.training for name, part in model.named_modules()}


@pytest.mark.parametrize("training", [False, True])
def test_wrapping_changes_no_parts_mode(training: bool) -> None:
    clip = build("resnet").clip
    clip.train(training)
    # As one does to train a model on with frozen statistics.
    for part in clip.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.train(not training)
    before = modes(clip)
    assert len(set(before.values())) == 2
    model = HookedCLIP.wrap(clip)
    assert modes(clip) == before
    assert model.training is training
    model.hook_shapes()
    assert modes(clip) == before


def test_batch_statistics_stay_as_they_were() -> None:
    tiny: Tiny = build("resnet")
    before = {k: v.clone() for k, v in tiny.clip.state_dict().items() if "running" in k}
    HookedCLIP.wrap(tiny.clip.eval()).hook_shapes()
    assert before and all(torch.equal(tiny.clip.state_dict()[k], v) for k, v in before.items())
