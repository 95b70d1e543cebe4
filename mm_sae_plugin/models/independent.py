"""`load_encoder`: the one way to open an encoder that judges features by its name."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.independent_encoder import IndependentEncoder, in_batches
from mm_sae_plugin.models.inputs import why_not
from mm_sae_plugin.models.load import load_model
from mm_sae_plugin.models.transformers_parts import transformers_tokenizer
from mm_sae_plugin.models.weights import WeightsId, identify_weights

if TYPE_CHECKING:
    from PIL.Image import Image

CLASSIFIER = "factorworld-classifier"
"""The classifier of FactorWorld's pictures, which shares nothing with the package's CLIPs."""
TFIDF = "tfidf-words"
"""No model at all: captions are alike that share words, above all rare ones."""

_TIMM, _HF = "timm:", "hf:"
_SIDE = 64
# Every word is a column that is summed for every feature; the rarest are shared by few captions.
_MOST_WORDS = 1_024
_MOST_TOKENS = 128


def load_encoder(name: str, device: str | torch.device = "cpu") -> IndependentEncoder:
    """Load an encoder that is to judge features.

    Parameters
    ----------
    name : str
        ``"factorworld-classifier"`` (images of FactorWorld); ``"tfidf-words"`` (captions);
        ``"timm:NAME"`` (images); ``"hf:ID_OR_FOLDER"`` of a transformers model of images, of text
        or of both; or any other name that :func:`~mm_sae_plugin.load_model` takes (both). Weights
        follow an ``@``: for an open_clip name a tag or a file, for a timm name a file.
    device : str or torch.device
        Where models run.

    Raises
    ------
    UserError
        If there is no such encoder, or it cannot be loaded.
    """
    base, _, weights = name.partition("@")
    if base == CLASSIFIER:
        return _classifier()
    if base == TFIDF:
        return IndependentEncoder(TFIDF, TFIDF, TFIDF.__eq__, of_texts=_tfidf)
    if base.startswith(_TIMM):
        return _timm(base, weights, device)
    config = _transformers_config(base.removeprefix(_HF)) if base.startswith(_HF) else None
    if config is not None and config.model_type not in ("clip", "siglip"):
        return _transformers(base, config, device)
    model = load_model(base, weights or None, device)
    return IndependentEncoder(
        name,
        model.weights_id,
        model.has_weights,
        partial(in_batches, model.encode_image),
        partial(in_batches, model.encode_text),
    )


def _classifier() -> IndependentEncoder:
    import numpy as np

    from mm_sae_plugin.factorworld.classifier import as_pixels, classifier_card, load_classifier

    classifier = load_classifier()

    def embed(pictures: list["Image"]) -> Tensor:
        for width, height in (picture.size for picture in pictures):
            if (width, height) != (_SIDE, _SIDE):
                raise UserError(
                    f"{CLASSIFIER} reads pictures of FactorWorld, {_SIDE} × {_SIDE} pixels, not "
                    f"{width} × {height}: name another encoder of images, such as timm:NAME."
                )
        pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
        return classifier.features(as_pixels(pixels))

    identity = f"sha256:{classifier_card()['sha256'][:16]}"
    return IndependentEncoder(CLASSIFIER, identity, identity.__eq__, partial(in_batches, embed))


def _tfidf(captions: Sequence[str]) -> Float[Tensor, "n d"]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        rows = TfidfVectorizer(max_features=_MOST_WORDS).fit_transform(captions)
    except ValueError as error:
        raise UserError(
            f"{TFIDF} found no words in {len(captions):,} captions: name another encoder of text."
        ) from error
    return torch.from_numpy(rows.toarray()).float()


def _timm(name: str, weights: str, device: str | torch.device) -> IndependentEncoder:
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    architecture = name.removeprefix(_TIMM)
    try:
        model: Any = timm.create_model(architecture, pretrained=not weights, num_classes=0)
        missing = _read_timm_weights(model, weights) if weights else []
    except Exception as error:
        raise UserError(
            f"timm could not load {architecture!r} ({why_not(error)}): without a network give its "
            f"weights in a file, {name}@FILE."
        ) from error
    if missing:
        raise UserError(
            f"{weights} is no checkpoint of {name}: {missing[0]} and {len(missing) - 1} more "
            "weights are not in it."
        )
    ids = identify_weights(model) if weights else WeightsId(name, name)
    transform: Any = create_transform(**resolve_model_data_config(model))
    model = model.eval().to(device)

    def embed(pictures: list["Image"]) -> Tensor:
        pixels = [transform(picture.convert("RGB")) for picture in pictures]
        return model(torch.stack(pixels).to(device))

    return IndependentEncoder(name, ids.current, ids.is_id_of, partial(in_batches, embed))


def _read_timm_weights(model: nn.Module, path: str) -> list[str]:
    """Read a checkpoint; return what it lacks. Its head is not asked for."""
    from timm.models import load_state_dict

    return list(model.load_state_dict(load_state_dict(path), strict=False).missing_keys)


def _transformers_config(id_or_folder: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(id_or_folder)
    except Exception as error:
        raise UserError(
            f"transformers found no model {id_or_folder!r}: give a hub id that can be reached or "
            f"a folder with a config.json ({why_not(error)})."
        ) from error


def _transformers(name: str, config: Any, device: str | torch.device) -> IndependentEncoder:
    """A model of one modality: its row is the mean of what its last layer gives.

    Class tokens and poolers are left out: many a checkpoint has none, or one that was never
    trained. The mean over tokens is what most sentence encoders were trained with.
    """
    from transformers import AutoModel

    id_or_folder = name.removeprefix(_HF)
    is_visual = hasattr(config, "num_channels")
    if not is_visual and not hasattr(config, "vocab_size"):
        raise UserError(
            f"{id_or_folder!r} is a {config.model_type!r} model, which reads neither images nor "
            "text: name another one."
        )
    try:
        model: Any = AutoModel.from_pretrained(id_or_folder)
        prepare = _image_inputs(id_or_folder) if is_visual else _text_inputs(id_or_folder, config)
    except Exception as error:
        raise UserError(f"{name} could not be loaded: {why_not(error)}.") from error
    ids = identify_weights(model)
    if getattr(config, "is_encoder_decoder", False):
        model = model.get_encoder()
    model = model.eval().to(device)

    def embed(items: list[Any]) -> Tensor:
        inputs = {key: value.to(device) for key, value in prepare(items).items()}
        last = model(**inputs).last_hidden_state
        if not is_visual:
            mask = inputs["attention_mask"][..., None].to(last.dtype)
            return (last * mask).sum(1) / mask.sum(1).clamp_min(1)
        # Convolutional models put the width before the places.
        return last.mean((2, 3)) if last.ndim == 4 else last.mean(1)

    side = {"of_images" if is_visual else "of_texts": partial(in_batches, embed)}
    return IndependentEncoder(name, ids.current, ids.is_id_of, **side)


def _image_inputs(id_or_folder: str) -> Callable[[list[Any]], dict[str, Tensor]]:
    from transformers import AutoImageProcessor

    processor: Any = AutoImageProcessor.from_pretrained(id_or_folder)

    def prepare(pictures: list[Any]) -> dict[str, Tensor]:
        rgb = [picture.convert("RGB") for picture in pictures]
        return {"pixel_values": processor(images=rgb, return_tensors="pt")["pixel_values"]}

    return prepare


def _text_inputs(id_or_folder: str, config: Any) -> Callable[[list[Any]], dict[str, Tensor]]:
    longest = min(getattr(config, "max_position_embeddings", _MOST_TOKENS), _MOST_TOKENS)
    tokenizer = transformers_tokenizer(id_or_folder, longest).tokenizer

    def prepare(captions: list[Any]) -> dict[str, Tensor]:
        encoded = tokenizer(
            captions, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        return {key: encoded[key] for key in ("input_ids", "attention_mask")}

    return prepare
