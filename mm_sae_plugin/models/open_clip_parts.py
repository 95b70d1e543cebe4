"""The parts of open_clip models, by name, folder or hub id."""

import os
import warnings
from dataclasses import dataclass
from typing import Any, NoReturn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS
from mm_sae_plugin.models.families.open_clip_text import context_length
from mm_sae_plugin.models.hook_names import nearest_names
from mm_sae_plugin.models.inputs import Deferred, why_not
from mm_sae_plugin.models.parts import ModelParts
from mm_sae_plugin.models.transformers_parts import transformers_tokenizer
from mm_sae_plugin.models.transforms import agreed_transform, chosen_transform, open_clip_transform
from mm_sae_plugin.models.weights import (
    WeightsId,
    identify_weights,
    open_clip_name,
    open_clip_tag,
    published_weights_id,
)

# Names that open_clip resolves itself: a repository of the hub, or a folder.
_SCHEMES = ("hf-hub:", "local-dir:")
_HF_PREFIX = "hf:"


@dataclass(frozen=True)
class OpenCLIPOptions:
    """What may be chosen where a checkpoint does not say it."""

    tokenizer: str | None = None
    """Whose tokenizer: another open_clip name, or ``hf:ID_OR_FOLDER`` of transformers."""
    preprocess: str | None = None
    """Which image transform; see :func:`~mm_sae_plugin.models.transforms.chosen_transform`."""
    force_quick_gelu: bool = False
    """Run with QuickGELU."""


def open_clip_parts(
    name: str, pretrained: str | None = None, options: OpenCLIPOptions | None = None
) -> ModelParts:
    """Load an open_clip model by name; see :func:`~mm_sae_plugin.load_model`."""
    import open_clip

    options = options or OpenCLIPOptions()
    name = open_clip_name(name)
    is_file = pretrained is not None and os.path.exists(pretrained)
    _check_name(name, pretrained)
    if options.tokenizer is not None:
        _check_tokenizer(options.tokenizer)
    quick_gelu = options.force_quick_gelu and not _is_quick(name)
    if quick_gelu and f"{name}-quickgelu" in open_clip.list_models():
        # One model has one name, however it was asked for.
        name = f"{name}-quickgelu"
        quick_gelu = False
    try:
        clip = open_clip.create_model(
            name,
            pretrained=pretrained,
            force_quick_gelu=quick_gelu,
            # Otherwise a model with random weights would fetch its text tower's from the hub.
            pretrained_text=False,
        )
    except Exception as error:
        weights = f" with weights {pretrained!r}" if pretrained else ""
        raise UserError(
            f"open_clip could not load {name!r}{weights} ({why_not(error)}); without a network "
            "give a local file as pretrained."
        ) from error

    if pretrained is None and not name.startswith(_SCHEMES):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)[:3]) or "none published"
        warnings.warn(
            f"{name} was given no weights and is random: name some with pretrained, a tag "
            f"({tags}, …) or a file.",
            stacklevel=2,
        )
    if options.preprocess is not None:
        transform = chosen_transform(options.preprocess, clip)
    else:
        transform = agreed_transform(name, clip) if is_file else open_clip_transform(clip)
    spoken, n_tokens = name, None
    if options.tokenizer is not None:
        # Another model's captions may be of another length.
        spoken, n_tokens = options.tokenizer, context_length(clip)
    tokenizer = Deferred(f"tokenizer of {spoken}", _tokenizer, (spoken, n_tokens))
    # The name goes on to stores; the model is another one than its published namesake.
    weights = _weights_id(clip, name + "-quickgelu" * quick_gelu, None if is_file else pretrained)
    return ModelParts(clip, tokenizer, transform, name, weights)


def _weights_id(clip: Any, name: str, tag: str | None) -> WeightsId:
    if tag is not None:
        published = published_weights_id(name, tag)
    elif name.startswith("hf-hub:"):
        published = f"open_clip:{name}"
    else:
        return identify_weights(clip)
    return WeightsId(published, published)


def _is_quick(name: str) -> bool:
    import open_clip

    return not name.startswith(_SCHEMES) and bool(
        (open_clip.get_model_config(name) or {}).get("quick_gelu")
    )


def _check_name(name: str, pretrained: str | None) -> None:
    import open_clip

    if name.startswith(_SCHEMES):
        return
    if name not in open_clip.list_models():
        if os.path.isdir(name):
            raise UserError(
                f"{name!r} is a folder: give local-dir:{name} for one of open_clip, or hf:{name} "
                "for one of transformers."
            )
        known = [*EMBEDDED_MODELS, *open_clip.list_models()]
        nearest = nearest_names(name, known)
        listing = f"{', '.join(EMBEDDED_MODELS)} need no network, open_clip.list_models() lists"
        remedy = f"did you mean {nearest}? {listing} more" if nearest else f"{listing} the others"
        raise UserError(f"There is no model {name!r}: {remedy}.")
    if pretrained is None or os.path.isfile(pretrained):
        return
    if os.path.isdir(pretrained):
        raise UserError(
            f"The weights {pretrained!r} are a folder: give the checkpoint in it, or the folder as "
            f"the model, local-dir:{pretrained}, when it has an open_clip_config.json."
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if open_clip_tag(pretrained) not in tags:
        nearest = nearest_names(pretrained, tags) or ", ".join(map(repr, tags))
        _refuse(
            f"{name} has no weights {pretrained!r}, neither as a tag nor as a file",
            nearest,
            "open_clip.list_pretrained",
        )


def _check_tokenizer(choice: str) -> None:
    import open_clip

    name = open_clip_name(choice)
    if name.startswith((*_SCHEMES, _HF_PREFIX)) or name in open_clip.list_models():
        return
    nearest = nearest_names(name, open_clip.list_models())
    _refuse(f"There is no tokenizer of {choice!r}", nearest, "open_clip.list_models")


def _refuse(what: str, nearest: str, listing: str) -> NoReturn:
    remedy = f"did you mean {nearest}?" if nearest else f"{listing}() lists what there is."
    raise UserError(f"{what}: {remedy}")


def _tokenizer(name: str, n_tokens: int | None) -> Any:
    import open_clip

    if n_tokens is not None and name.startswith(_HF_PREFIX):
        return transformers_tokenizer(name.removeprefix(_HF_PREFIX), n_tokens)
    return open_clip.get_tokenizer(open_clip_name(name), context_length=n_tokens)
