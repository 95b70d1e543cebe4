"""Ids of weights: equal for models that compute the same, and only for those."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.models.weights import (
    canonical_weights_id,
    identify_weights,
    published_weights_id,
)
from tests.models.tiny import Tiny, build


def legacy_digest(module: nn.Module) -> str:
    """As the first version computed it."""
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()[:16]}"


def use_quick_gelu(clip: Any) -> None:
    for block in clip.visual.transformer.resblocks:
        block.mlp.gelu = open_clip.transformer.QuickGELU()  # pyright: ignore[reportAttributeAccessIssue]


def halve_heads(clip: Any) -> None:
    clip.visual.transformer.resblocks[0].attn.num_heads //= 2


def other_eps(clip: Any) -> None:
    clip.ln_final.eps = 1e-6


def other_pool(clip: Any) -> None:
    clip.visual.pool_type = "avg"


def other_text_pool(clip: Any) -> None:
    clip.text_pool_type = "first"


def no_mask(clip: Any) -> None:
    clip.attn_mask = None


GELUS = ("gelu", "relu", "gelutanh", "quickgelu")
CHANGES: list[Callable[[Any], None]] = [
    use_quick_gelu,
    halve_heads,
    other_eps,
    other_pool,
    other_text_pool,
    no_mask,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_setting_outside_the_weights_is_another_model(vit: Tiny, change) -> None:
    before = identify_weights(vit.clip)
    change(vit.clip)
    after = identify_weights(vit.clip)
    assert after.legacy == before.legacy == legacy_digest(vit.clip)
    assert after.current != before.current


def test_the_settings_of_every_family_are_seen(tiny: Tiny, family: str) -> None:
    clip = copy.deepcopy(tiny.clip)
    before = identify_weights(clip)
    assert identify_weights(copy.deepcopy(clip)) == before
    assert identify_weights(clip.train()) == before
    activations = [
        (owner, name)
        for owner in clip.modules()
        for name, part in owner.named_children()
        if type(part).__name__.lower().removesuffix("activation") in GELUS
    ]
    assert activations, f"no activation function found in {family}"
    owner, name = activations[-1]
    setattr(owner, name, nn.Mish())
    assert identify_weights(clip).current != before.current


def test_one_function_has_one_name_in_all_libraries() -> None:
    from transformers.activations import GELUActivation, GELUTanh, QuickGELUActivation

    def id_with(activation: nn.Module) -> str:
        return identify_weights(nn.Sequential(nn.Identity(), activation)).current

    assert id_with(GELUActivation()) == id_with(nn.GELU())
    assert id_with(GELUTanh()) == id_with(nn.GELU(approximate="tanh")) != id_with(nn.GELU())
    assert id_with(QuickGELUActivation()) == id_with(open_clip.transformer.QuickGELU())  # pyright: ignore[reportAttributeAccessIssue]


def test_compiling_a_part_changes_no_id(vit: Tiny) -> None:
    before = identify_weights(vit.clip).current
    vit.clip.visual = torch.compile(vit.clip.visual, backend="eager")
    assert identify_weights(vit.clip).current == before


def test_the_id_of_an_earlier_version_counts_with_a_word(vit: Tiny) -> None:
    model = HookedCLIP.wrap(vit.clip)
    assert model.legacy_weights_id == legacy_digest(vit.clip) != model.weights_id
    with pytest.warns(UserWarning, match=f"{model.legacy_weights_id} is the id that an earlier"):
        assert model.has_weights(model.legacy_weights_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.has_weights(model.weights_id)
        assert not model.has_weights("sha256:0123456789abcdef")


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("ViT-B-32", "laion2b_s34b_b79k"),
        ("ViT-B/32", "laion2b-s34b-b79k"),
        ("ViT-B-32", "LAION2B_s34b_b79k"),
    ],
)
def test_aliases_are_one_identity(vit: Tiny, name: str, tag: str) -> None:
    expected = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    assert published_weights_id(name, tag) == expected
    assert canonical_weights_id(f"open_clip:{name}/{tag}") == expected
    # Earlier versions wrote the spelling that was typed.
    assert HookedCLIP.wrap(vit.clip, weights_id=expected).has_weights(f"open_clip:{name}/{tag}")


@pytest.mark.parametrize(
    "noted", ["open_clip:hf-hub:Some-Org/A-b-C", "hf:Some-Org/A-b-C@12", "sha256:0a-B", "mine/A-b"]
)
def test_other_ids_stay_as_they_are(noted: str) -> None:
    assert canonical_weights_id(noted) == noted


def test_variants_with_another_activation_are_other_models() -> None:
    plain = published_weights_id("ViT-B-32", "openai")
    assert published_weights_id("ViT-B-32-quickgelu", "openai") != plain


def test_families_do_not_share_ids() -> None:
    ids = {identify_weights(build(name).clip).current for name in ("vit", "vit-token-first")}
    # The layout of tokens is no difference in what is computed.
    assert len(ids) == 1
