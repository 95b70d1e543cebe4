"""Looking activations up by shorthand."""

import copy
import pickle

import pytest
import torch
from torch import Tensor
from transformer_lens import utils

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.models.activation_cache import ActivationCache, NotCachedError
from tests.models.tiny import Tiny


@pytest.fixture
def cache(vit: Tiny, vit_model: HookedCLIP) -> ActivationCache:
    """All activations of two layers of images and three of captions."""
    pixels, tokens = vit.inputs()
    with torch.no_grad():
        return vit_model.run_with_cache(images=pixels, texts=tokens)[1]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("resid_post", 1, "vision"), "vision.blocks.1.hook_resid_post"),
        (("hook_resid_post", 1, "vision"), "vision.blocks.1.hook_resid_post"),
        (("resid_pre", -1, "vision"), "vision.blocks.1.hook_resid_pre"),
        (("resid_pre", -1, "text"), "text.blocks.2.hook_resid_pre"),
        (("mlp_post", 0, "text"), "text.blocks.0.hook_mlp_post"),
        (("post", 0, "text"), "text.blocks.0.hook_mlp_post"),
        (("resid_post", "text", 1), "text.blocks.1.hook_resid_post"),
        (("proj", "vision"), "vision.hook_proj"),
        (("normalized", None, "text"), "text.hook_normalized"),
        (("embed", "text"), "text.hook_embed"),
        # Only the captions' tower has a third layer.
        (("attn_out", 2), "text.blocks.2.hook_attn_out"),
        ("text.hook_proj", "text.hook_proj"),
    ],
)
def test_shorthand(cache: ActivationCache, key: object, name: str) -> None:
    expected = dict.__getitem__(cache, name)
    assert cache[key] is expected  # type: ignore[index]
    assert key in cache and cache.get(key) is expected


@pytest.mark.parametrize("site", ["resid_pre", "resid_post", "attn_out", "mlp_out"])
def test_names_are_transformer_lens_own(cache: ActivationCache, site: str) -> None:
    assert cache[site, 1, "text"] is cache[f"text.{utils.get_act_name(site, 1)}"]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("vision.hook_projj", r"no 'vision\.hook_projj': did you mean 'vision\.hook_proj'"),
        (("resid_post", 7, "vision"), r"no 'vision\.blocks\.7\.hook_resid_post': did you mean"),
        (("resid_post", -4, "text"), r"no 'text\.blocks\.-1\.hook_resid_post'"),
        (("proj",), "Both towers have a 'proj': add 'vision' or 'text'"),
        ("proj", "Both towers have a 'proj'"),
        (("resid_post", 1, "image"), "come a layer's number and a tower, 'vision' or 'text'"),
        (("resid_post", 1, 2), "come a layer's number and a tower"),
        (3, "3 names no activation: give a hook's name"),
        ((), "names no activation"),
    ],
)
def test_what_is_not_held_is_named(cache: ActivationCache, key: object, message: str) -> None:
    with pytest.raises(NotCachedError, match=message) as error:
        cache[key]  # type: ignore[index]
    assert isinstance(error.value, UserError) and isinstance(error.value, KeyError)
    assert not str(error.value).startswith(("'", '"T'))
    assert key not in cache and cache.get(key, 5) == 5


def test_a_tower_need_not_be_named_where_only_one_was_run(vit: Tiny, vit_model: HookedCLIP) -> None:
    _, cache = vit_model.run_with_cache(images=vit.inputs()[0])
    assert cache["proj"] is cache["vision.hook_proj"]
    assert cache["resid_post", 0] is cache["vision.blocks.0.hook_resid_post"]  # pyright: ignore[reportArgumentType]


def test_it_is_an_ordinary_dictionary_beside(cache: ActivationCache) -> None:
    assert isinstance(cache, dict) and all(isinstance(acts, Tensor) for acts in cache.values())
    assert next(iter(cache)) == "vision.hook_embed"
    for twin in (copy.copy(cache), pickle.loads(pickle.dumps(cache))):
        assert torch.equal(twin["proj", "text"], cache["proj", "text"])  # pyright: ignore[reportArgumentType]
