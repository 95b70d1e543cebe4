"""Loading a model by name: the embedded default, open_clip, or Hugging Face transformers."""

from __future__ import annotations

import os
import warnings
from typing import Any, NoReturn

import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS
from mm_sae_plugin.models.hook_names import nearest_names
from mm_sae_plugin.models.hooked_clip import HookedCLIP
from mm_sae_plugin.models.inputs import (
    Deferred,
    TransformersPreprocess,
    TransformersTokenizer,
    first_line,
)
from mm_sae_plugin.models.weights import (
    identify_weights,
    open_clip_name,
    open_clip_tag,
    published_weights_id,
)

_HF_PREFIX = "hf:"
# open_clip's own schemes for a repository or folder with an `open_clip_config.json`.
_OPEN_CLIP_SCHEMES = ("hf-hub:", "local-dir:")


def load_model(
    name: str,
    pretrained: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> HookedCLIP:
    """Load a model in evaluation mode, with its tokenizer and its image transform.

    Parameters
    ----------
    name
        ``"factorworld"`` or ``"factorworld-declip"`` (embedded, no network); an open_clip model
        name such as ``"ViT-B-32"``; or ``"hf:ID_OR_FOLDER"`` for a transformers CLIP or SigLIP.
    pretrained
        For an open_clip name: a tag such as ``"laion2b_s34b_b79k"`` or a local checkpoint;
        without it the weights are random and a warning says so.
    device, dtype
        Where the weights go and their floating-point type.

    Raises
    ------
    UserError
        If the name, the tag or the file is unknown, or cannot be loaded.
    """
    if name in EMBEDDED_MODELS:
        return _load_embedded(name, device, dtype)
    if name.startswith(_HF_PREFIX):
        return load_transformers(name.removeprefix(_HF_PREFIX), device, dtype)
    return load_open_clip(name, pretrained, device, dtype)


def load_open_clip(
    name: str,
    pretrained: str | None,
    device: str | torch.device,
    dtype: torch.dtype,
) -> HookedCLIP:
    """Load an open_clip model by name; see :func:`load_model`."""
    import open_clip

    name = open_clip_name(name)
    _check_open_clip_name(name, pretrained)
    try:
        clip = open_clip.create_model(
            name,
            pretrained=pretrained,
            # Otherwise a model with random weights would fetch its text tower's from the hub.
            pretrained_text=False,
        )
    except Exception as error:
        weights = f" with weights {pretrained!r}" if pretrained else ""
        raise UserError(
            f"open_clip could not load {name!r}{weights} ({first_line(error)[:160]}); without a "
            "network give a local file as pretrained."
        ) from error

    if pretrained is not None and not os.path.exists(pretrained):
        weights_id = published_weights_id(name, pretrained)
    elif name.startswith("hf-hub:"):
        weights_id = f"open_clip:{name}"
    else:
        # Before the cast, so that every dtype of one checkpoint has one id.
        weights_id = identify_weights(clip)
    if pretrained is None and not name.startswith(_OPEN_CLIP_SCHEMES):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)[:3]) or "none published"
        warnings.warn(
            f"{name} was given no weights and is random: name some with pretrained, a tag "
            f"({tags}, …) or a file.",
            stacklevel=3,
        )
    model = HookedCLIP.wrap(
        clip,
        tokenizer=Deferred(f"tokenizer of {name}", _open_clip_tokenizer, (name,)),
        preprocess=_open_clip_preprocess(clip),
        name=name,
        weights_id=weights_id,
    )
    return model.to(device=device, dtype=dtype).eval()


def load_transformers(
    id_or_folder: str,
    device: str | torch.device,
    dtype: torch.dtype,
) -> HookedCLIP:
    """Load a transformers CLIP or SigLIP; see :func:`load_model`."""
    from transformers import AutoConfig, CLIPModel, SiglipModel

    classes = {"clip": CLIPModel, "siglip": SiglipModel}
    try:
        config = AutoConfig.from_pretrained(id_or_folder)
    except Exception as error:
        raise UserError(
            f"transformers found no model {id_or_folder!r}: give a hub id that can be reached or "
            f"a folder with a config.json ({first_line(error)})"
        ) from error
    if config.model_type not in classes:
        raise UserError(
            f"{id_or_folder!r} is a {config.model_type!r} model: only 'clip' and 'siglip' can be "
            "loaded through transformers."
        )
    try:
        clip = classes[config.model_type].from_pretrained(id_or_folder)
    except Exception as error:
        raise UserError(
            f"The weights of {id_or_folder!r} could not be loaded: {first_line(error)}"
        ) from error

    if os.path.isdir(id_or_folder):
        weights_id = identify_weights(clip)
    else:
        revision = getattr(clip.config, "_commit_hash", None)
        weights_id = f"hf:{id_or_folder}" + (f"@{revision[:16]}" if revision else "")
    context_length = config.text_config.max_position_embeddings
    model = HookedCLIP.wrap(
        clip,
        tokenizer=Deferred(
            f"tokenizer of {id_or_folder}",
            _transformers_tokenizer,
            (id_or_folder, context_length),
        ),
        preprocess=Deferred(
            f"image processor of {id_or_folder}", _transformers_preprocess, (id_or_folder,)
        ),
        name=f"{_HF_PREFIX}{id_or_folder}",
        weights_id=weights_id,
    )
    return model.to(device=device, dtype=dtype).eval()


def _load_embedded(name: str, device: str | torch.device, dtype: torch.dtype) -> HookedCLIP:
    from mm_sae_plugin.factorworld.embedded import load_embedded

    embedded = load_embedded(name)
    model = HookedCLIP.wrap(
        embedded.model,
        tokenizer=embedded.tokenizer,
        preprocess=embedded.preprocess,
        name=embedded.name,
        weights_id=embedded.weights_id,
    )
    return model.to(device=device, dtype=dtype).eval()


def _check_open_clip_name(name: str, pretrained: str | None) -> None:
    import open_clip

    if name.startswith(_OPEN_CLIP_SCHEMES):
        return
    if name not in open_clip.list_models():
        known = [*EMBEDDED_MODELS, *open_clip.list_models()]
        _refuse(f"There is no model {name!r}", nearest_names(name, known), "open_clip.list_models")
    if pretrained is None or os.path.isfile(pretrained):
        return
    tags = open_clip.list_pretrained_tags_by_model(name)
    if open_clip_tag(pretrained) not in tags:
        nearest = nearest_names(pretrained, tags) or ", ".join(map(repr, tags))
        _refuse(
            f"{name} has no weights {pretrained!r}, neither as a tag nor as a file",
            nearest,
            "open_clip.list_pretrained",
        )


def _refuse(what: str, nearest: str, listing: str) -> NoReturn:
    remedy = f"did you mean {nearest}?" if nearest else f"{listing}() lists what there is."
    raise UserError(f"{what}: {remedy}")


def _open_clip_preprocess(clip: Any) -> Any:
    from open_clip.model import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    return image_transform_v2(PreprocessCfg(**get_model_preprocess_cfg(clip)), is_train=False)


def _open_clip_tokenizer(name: str) -> Any:
    import open_clip

    return open_clip.get_tokenizer(name)


def _transformers_tokenizer(id_or_folder: str, context_length: int) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(id_or_folder)
    # Where there are no tokenizer files, transformers makes one that knows no word at all.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise FileNotFoundError(f"there is no vocabulary in {id_or_folder}")
    return TransformersTokenizer(tokenizer, context_length)


def _transformers_preprocess(id_or_folder: str) -> Any:
    from transformers import AutoImageProcessor

    return TransformersPreprocess(AutoImageProcessor.from_pretrained(id_or_folder))
