"""Which weights a model runs with: an id that two models share only if they compute the same."""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

_SETTINGS = (
    "eps",
    "num_heads",
    "pool_type",
    "text_pool_type",
    "global_pool",
    "final_ln_after_pool",
    "eos_id",
    "text_eos_id",
    "eos_token_id",
    "use_pad_mask",
    "rotate_half",
    "negative_slope",
    "stride",
    "padding",
    "dilation",
    "groups",
)
"""Attributes of modules that change what they compute and leave no trace in a state dict. Those
that follow from others (a head's width, its scale) are left out: libraries come to store them."""
_ACTIVATIONS = ("elu", "silu", "swish", "mish", "tanh", "sigmoid")
# What torch.compile puts into the names of what it wraps.
_WRAPPER = "_orig_mod."


@dataclass(frozen=True)
class WeightsId:
    """The id of a model's weights, now and as earlier versions gave it."""

    current: str
    """Covers the weights and the settings that change what they compute."""
    legacy: str
    """Covered the state dict alone; stores and SAEs of earlier versions carry it."""

    def is_id_of(self, noted: str) -> bool:
        """Say whether ``noted``, in a store or an SAE folder, means these weights.

        Warns where only the legacy id agrees, which says nothing about the settings.
        """
        if canonical_weights_id(noted) == self.current:
            return True
        if noted != self.legacy:
            return False
        warnings.warn(
            f"{noted} is the id that an earlier version of mm_sae_plugin gave these weights "
            "without their activation function, pooling and norms: they are taken to be the same.",
            stacklevel=3,
        )
        return True


def identify_weights(module: nn.Module) -> WeightsId:
    """Hash a model: each id is ``"sha256:"`` and 16 hexadecimal digits.

    The hash covers names, types, shapes and bytes of the whole state dict in sorted order, and
    every activation function, head count, norm, pooling and mask; the device does not matter. Two
    bytes apart give two ids, so take it before casting.
    """
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        name = name.replace(_WRAPPER, "")
        state.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # Raw bytes, since NumPy knows no bfloat16.
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        state.update(flat.view(torch.uint8).numpy().data)
    legacy = _short(state)
    for setting in sorted(set(_settings(module))):
        state.update(f"{setting}|".encode())
    return WeightsId(_short(state), legacy)


def published_weights_id(name: str, tag: str) -> str:
    """Return the id of an open_clip model's published weights, however name and tag are spelled."""
    return f"open_clip:{open_clip_name(name)}/{open_clip_tag(tag)}"


def canonical_weights_id(noted: str) -> str:
    """Return an id in the spelling of :func:`published_weights_id`; other ids stay as they are."""
    name, _, tag = noted.removeprefix("open_clip:").rpartition("/")
    if not noted.startswith("open_clip:") or not name or ":" in name:
        return noted
    return published_weights_id(name, tag)


def open_clip_name(name: str) -> str:
    """Spell a model's name as open_clip lists it: ``ViT-B/32`` is ``ViT-B-32``."""
    return name if ":" in name else name.replace("/", "-")


def open_clip_tag(tag: str) -> str:
    """Spell a tag as open_clip lists it: without upper case, and ``_`` for ``-``."""
    return tag.lower().replace("-", "_")


def _short(digest: "hashlib._Hash") -> str:
    return f"sha256:{digest.hexdigest()[:16]}"


def _settings(module: nn.Module) -> Iterator[str]:
    for path, part in module.named_modules():
        path = f"{path}.".replace(_WRAPPER, "")
        for name in _SETTINGS:
            value = part.__dict__.get(name)
            if isinstance(value, float):
                yield f"{path}{name}={value:.6g}"
            elif isinstance(value, bool | int | str | tuple):
                yield f"{path}{name}={value!r}"
        # A mask that keeps captions causal is made anew, not stored.
        if part.__dict__.get("attn_mask") is not None or part._buffers.get("attn_mask") is not None:
            yield f"{path}attn_mask"
        activation = _activation(part)
        if activation:
            yield f"{path}={activation}"


def _activation(part: nn.Module) -> str | None:
    """Return one name for torch's, timm's, open_clip's and transformers' same function."""
    name = type(part).__name__.lower().removesuffix("activation")
    if next(part.parameters(), None) is not None or not any(word in name for word in _ACTIVATIONS):
        return None
    if "quick" in name:
        return "quickgelu"
    if "gelu" in name:
        tanh = "tanh" in name or "new" in name or getattr(part, "approximate", "none") == "tanh"
        return "gelu_tanh" if tanh else "gelu"
    return name
