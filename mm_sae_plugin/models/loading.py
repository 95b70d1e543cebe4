"""Finding a model by name: the embedded default, open_clip, or Hugging Face transformers.

Loaders return plain parts; `HookedCLIP` puts them together.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS
from mm_sae_plugin.models.hook_names import nearest_names
from mm_sae_plugin.models.inputs import (
    Deferred,
    TransformersPreprocess,
    TransformersTokenizer,
    first_line,
)
from mm_sae_plugin.models.transforms import file_transform, open_clip_transform, published_transform
from mm_sae_plugin.models.weights import weights_digest

_HF_PREFIX = "hf:"
# open_clip's own schemes for a repository or folder with an `open_clip_config.json`.
_OPEN_CLIP_SCHEMES = ("hf-hub:", "local-dir:")


@dataclass(frozen=True)
class ModelParts:
    """What a `HookedCLIP` is put together from."""

    clip: nn.Module
    """The model, on the CPU in float32."""
    tokenizer: Any
    """Captions to token ids."""
    preprocess: Any
    """One PIL image to pixels."""
    name: str
    """The name it was asked for by, in one spelling."""
    weights_id: str
    """Which weights."""


def parts_of(
    name: str,
    pretrained: str | None = None,
    tokenizer: str | None = None,
    preprocess: str | None = None,
    force_quick_gelu: bool = False,
) -> ModelParts:
    """Load the parts of any model; see :func:`~mm_sae_plugin.load_model`."""
    is_open_clip = name not in EMBEDDED_MODELS and not name.startswith(_HF_PREFIX)
    if not is_open_clip and (tokenizer or preprocess or force_quick_gelu):
        raise UserError(
            f"{name} brings its own tokenizer, image transform and activation function: leave "
            "tokenizer, preprocess and force_quick_gelu out."
        )
    if name in EMBEDDED_MODELS:
        return embedded_parts(name)
    if name.startswith(_HF_PREFIX):
        return transformers_parts(name.removeprefix(_HF_PREFIX))
    return open_clip_parts(name, pretrained, tokenizer, preprocess, force_quick_gelu)


def open_clip_parts(
    name: str,
    pretrained: str | None = None,
    tokenizer: str | None = None,
    preprocess: str | None = None,
    force_quick_gelu: bool = False,
) -> ModelParts:
    """Load an open_clip model by name; see :func:`~mm_sae_plugin.load_model`."""
    import open_clip

    name, pretrained = _in_one_spelling(name, pretrained)
    _check_open_clip_name(name, pretrained)
    try:
        clip = open_clip.create_model(
            name,
            pretrained=pretrained,
            force_quick_gelu=force_quick_gelu,
            # Otherwise a model with random weights would fetch its text tower's from the hub.
            pretrained_text=False,
        )
    except Exception as error:
        weights = f" with weights {pretrained!r}" if pretrained else ""
        raise UserError(
            f"open_clip could not load {name!r}{weights} ({first_line(error)[:160]}); without a "
            "network give a local file of plain tensors as pretrained, safetensors if you can."
        ) from error

    from_file = pretrained is not None and os.path.exists(pretrained)
    if pretrained is not None and not from_file:
        weights_id = f"open_clip:{name}/{pretrained}"
        # A published tag trained with one function runs with another only on purpose.
        weights_id += "+quickgelu" if force_quick_gelu else ""
    elif name.startswith("hf-hub:"):
        weights_id = f"open_clip:{name}"
    else:
        weights_id = weights_digest(clip)
    if pretrained is None and not name.startswith(_OPEN_CLIP_SCHEMES):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)[:3]) or "none published"
        warnings.warn(
            f"{name} was given no weights and is random: name some with pretrained, a tag "
            f"({tags}, …) or a file.",
            stacklevel=4,
        )
    if preprocess is not None:
        transform = file_transform(preprocess, clip)
    elif from_file:
        transform = published_transform(name, clip)
    else:
        transform = open_clip_transform(clip)
    spoken = tokenizer or name
    return ModelParts(
        clip,
        Deferred(f"tokenizer of {spoken}", _open_clip_tokenizer, (spoken,)),
        transform,
        name,
        weights_id,
    )


def transformers_parts(id_or_folder: str) -> ModelParts:
    """Load a transformers CLIP or SigLIP; see :func:`~mm_sae_plugin.load_model`."""
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
        weights_id = weights_digest(clip)
    else:
        revision = getattr(clip.config, "_commit_hash", None)
        weights_id = f"hf:{id_or_folder}" + (f"@{revision[:16]}" if revision else "")
    context_length = config.text_config.max_position_embeddings
    return ModelParts(
        clip,
        Deferred(
            f"tokenizer of {id_or_folder}",
            _transformers_tokenizer,
            (id_or_folder, context_length),
        ),
        Deferred(f"image processor of {id_or_folder}", _transformers_preprocess, (id_or_folder,)),
        f"{_HF_PREFIX}{id_or_folder}",
        weights_id,
    )


def embedded_parts(name: str) -> ModelParts:
    """Load an embedded model."""
    from mm_sae_plugin.factorworld.embedded import load_embedded

    embedded = load_embedded(name)
    return ModelParts(
        embedded.model,
        embedded.tokenizer,
        embedded.preprocess,
        embedded.name,
        embedded.weights_id,
    )


def _in_one_spelling(name: str, pretrained: str | None) -> tuple[str, str | None]:
    """Spell a name and a tag as open_clip lists them: aliases are one identity."""
    if not name.startswith(_OPEN_CLIP_SCHEMES):
        name = name.replace("/", "-")
    if pretrained is not None and not os.path.exists(pretrained):
        pretrained = pretrained.lower().replace("-", "_")
    return name, pretrained


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
    if pretrained not in tags:
        nearest = nearest_names(pretrained, tags) or ", ".join(map(repr, tags))
        _refuse(
            f"{name} has no weights {pretrained!r}, neither as a tag nor as a file",
            nearest,
            "open_clip.list_pretrained",
        )


def _refuse(what: str, nearest: str, listing: str) -> NoReturn:
    remedy = f"did you mean {nearest}?" if nearest else f"{listing}() lists what there is."
    raise UserError(f"{what}: {remedy}")


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
