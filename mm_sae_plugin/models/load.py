"""`load_model`: the one way to open a model by its name."""

import os

import torch

from mm_sae_plugin.devices import checked_device, checked_dtype
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.models.hooked_clip import HookedCLIP
from mm_sae_plugin.models.loading import parts_of
from mm_sae_plugin.models.open_clip_parts import OpenCLIPOptions


def load_model(
    name: str,
    pretrained: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = torch.float32,
    *,
    tokenizer: str | None = None,
    preprocess: str | None = None,
    force_quick_gelu: bool = False,
) -> HookedCLIP:
    """Load a model in evaluation mode, with its tokenizer and its image transform.

    Parameters
    ----------
    name
        ``"factorworld"``, ``"factorworld-declip"``, ``"factorworld-biased"`` or
        ``"factorworld-robust"`` (embedded, no network); an open_clip model name such as
        ``"ViT-B-32"``, ``"hf-hub:ID"`` or ``"local-dir:FOLDER"`` (with an
        ``open_clip_config.json``); or
        ``"hf:ID_OR_FOLDER"`` for a transformers CLIP or SigLIP.
    pretrained
        For an open_clip name: a tag such as ``"laion2b_s34b_b79k"`` or a local checkpoint;
        without it the weights are random and a warning says so. A checkpoint takes the image
        transform that the published tags of its name agree on.
    device, dtype
        Where the weights go and their floating-point type, such as ``"bfloat16"``.
    tokenizer
        For an open_clip name: another open_clip name whose tokenizer to use, or
        ``"hf:ID_OR_FOLDER"`` of a transformers tokenizer.
    preprocess
        For an open_clip name: a JSON file with some of open_clip's ``mean``, ``std``,
        ``interpolation`` and ``resize_mode``, such as an ``open_clip_config.json``, or a published
        tag with its model, ``"ViT-B-16-SigLIP/webli"``.
    force_quick_gelu
        For an open_clip name: run with QuickGELU, as OpenAI's own weights were trained.

    Raises
    ------
    UserError
        If the name, the tag, the file, the device or the dtype is unknown, or cannot be loaded.
    """
    if not isinstance(name, str):
        raise UserError(
            f"A model is loaded by its name, such as 'factorworld' or 'ViT-B-32', not by "
            f"{kind_of(name)}: give a string, or wrap a ready model with HookedCLIP.wrap."
        )
    if not isinstance(pretrained, str | os.PathLike | None):
        raise UserError(
            f"pretrained must be a tag or the path of a checkpoint, not {kind_of(pretrained)}."
        )
    # Before the weights are read, which takes a while.
    device, dtype = checked_device(device), checked_dtype(dtype)
    options = OpenCLIPOptions(tokenizer, preprocess, force_quick_gelu)
    parts = parts_of(name, pretrained, options)
    return HookedCLIP.from_parts(parts).to(device=device, dtype=dtype)
