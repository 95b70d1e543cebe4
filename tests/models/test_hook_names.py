"""The vocabulary of hook names."""

import pytest

from mm_sae_plugin.models import hook_names as names


def test_names_are_put_together_and_taken_apart() -> None:
    name = f"{names.VISION}.{names.block_site(5, names.HOOK_RESID_POST)}"
    assert name == "vision.blocks.5.hook_resid_post"
    assert names.tower_of(name) == "vision"


@pytest.mark.parametrize(
    ("name", "is_token"),
    [
        ("vision.hook_embed", True),
        ("text.blocks.0.hook_mlp_post", True),
        ("vision.hook_pooled", False),
        ("text.hook_proj", False),
        ("text.hook_normalized", False),
    ],
)
def test_token_sites_are_told_from_pooled_ones(name: str, is_token: bool) -> None:
    assert names.is_token_site(name) is is_token


def test_nearest_names_ignore_case_and_may_be_none() -> None:
    known = ["ViT-B-32", "ViT-L-14", "RN50"]
    assert names.nearest_names("vit-b-32", known).startswith("'ViT-B-32'")
    assert names.nearest_names("qqqq", known) == ""
