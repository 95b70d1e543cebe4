"""One vocabulary of hook names for every model, in words of TransformerLens.

A full name is ``"{tower}.{site}"``: ``vision.hook_embed``, ``text.blocks.3.hook_mlp_out``,
``vision.hook_normalized``. Token sites are ``[batch, token, d_model]`` whatever layout the
tower runs in; pooled sites are ``[batch, d]``.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

Tower = Literal["vision", "text"]

VISION: Tower = "vision"
TEXT: Tower = "text"
TOWERS: tuple[Tower, ...] = (VISION, TEXT)

HOOK_EMBED = "hook_embed"
"""Tokens with their positions, before any layer norm and before the first block."""
HOOK_RESID_PRE = "hook_resid_pre"
"""The residual stream entering a block."""
HOOK_ATTN_OUT = "hook_attn_out"
"""What attention adds to the residual stream (layer scale and post-norm included)."""
HOOK_MLP_POST = "hook_mlp_post"
"""The hidden units of the MLP after their activation function."""
HOOK_MLP_OUT = "hook_mlp_out"
"""What the MLP adds to the residual stream (layer scale included)."""
HOOK_RESID_POST = "hook_resid_post"
"""The residual stream leaving a block."""
HOOK_POOLED = "hook_pooled"
"""One vector per input, after pooling and the final norm, before the projection."""
HOOK_PROJ = "hook_proj"
"""The joint space, not normalised."""
HOOK_NORMALIZED = "hook_normalized"
"""The joint space at unit length: the default site of a shared SAE."""

JOINT_SITES = (HOOK_PROJ, HOOK_NORMALIZED)
POOLED_SITES = (HOOK_POOLED, *JOINT_SITES)


def block_site(layer: int, site: str) -> str:
    """Return the name of ``site`` in block ``layer``, relative to its tower."""
    return f"blocks.{layer}.{site}"


def tower_of(hook_name: str) -> Tower:
    """Return the tower that a full hook name belongs to."""
    tower = hook_name.split(".", 1)[0]
    assert tower in TOWERS, hook_name
    return tower  # type: ignore[return-value]


def is_token_site(hook_name: str) -> bool:
    """Say whether a hook holds one row per token rather than one per input."""
    return hook_name.rsplit(".", 1)[-1] not in POOLED_SITES


def nearest_names(name: str, known: Iterable[str], n: int = 3) -> str:
    """Return the closest known names as prose, for an error message.

    Upper and lower case are not told apart in the comparison, since people rarely do.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), by_lower, n=n, cutoff=0.55)
    return " or ".join(repr(by_lower[match]) for match in close)
