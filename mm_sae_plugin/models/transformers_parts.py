"""The parts of Hugging Face transformers models, by hub id or folder."""

import os
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.inputs import (
    Deferred,
    TransformersPreprocess,
    TransformersTokenizer,
    why_not,
)
from mm_sae_plugin.models.parts import ModelParts
from mm_sae_plugin.models.weights import WeightsId, identify_weights


def transformers_parts(id_or_folder: str) -> ModelParts:
    """Load a transformers CLIP or SigLIP; see :func:`~mm_sae_plugin.load_model`."""
    from transformers import AutoConfig, CLIPModel, SiglipModel

    classes = {"clip": CLIPModel, "siglip": SiglipModel}
    try:
        config = AutoConfig.from_pretrained(id_or_folder)
    except Exception as error:
        raise UserError(
            f"transformers found no model {id_or_folder!r}: give a hub id that can be reached or "
            f"a folder with a config.json ({why_not(error)})"
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
            f"The weights of {id_or_folder!r} could not be loaded: {why_not(error)}"
        ) from error

    if os.path.isdir(id_or_folder):
        weights = identify_weights(clip)
    else:
        revision = getattr(clip.config, "_commit_hash", None)
        published = f"hf:{id_or_folder}" + (f"@{revision[:16]}" if revision else "")
        weights = WeightsId(published, published)
    context_length = config.text_config.max_position_embeddings
    return ModelParts(
        clip,
        Deferred(
            f"tokenizer of {id_or_folder}",
            _transformers_tokenizer,
            (id_or_folder, context_length),
        ),
        Deferred(f"image processor of {id_or_folder}", _transformers_preprocess, (id_or_folder,)),
        f"hf:{id_or_folder}",
        weights,
    )


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
